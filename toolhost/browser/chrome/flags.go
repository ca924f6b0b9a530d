package chrome

import "strings"

// flags are what Chromium is started with.
func (b *Browser) flags() []string {
	f := []string{
		"--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--mute-audio",
		"--hide-scrollbars", "--window-size=1280,1024", "--force-color-profile=srgb", "--lang=en-US",

		// The only way out. What asks for no proxy, or does not know the password of a context, gets nowhere; names are
		// resolved by the proxy alone; loopback goes there too, to be refused.
		"--proxy-server=http://" + b.options.Proxy, "--proxy-bypass-list=<-loopback>",
		"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE " + host(b.options.Proxy),
		"--disable-quic", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
		"--webrtc-ip-handling-policy=disable_non_proxied_udp", "--dns-prefetch-disable", "--no-pings",

		// Chromium's own errands.
		"--disable-background-networking", "--disable-component-update", "--disable-component-extensions-with-background-pages",
		"--disable-domain-reliability", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--disable-breakpad",
		"--disable-crash-reporter", "--disable-client-side-phishing-detection", "--disable-search-engine-choice-screen",
		"--metrics-recording-only", "--no-report-upload", "--safebrowsing-disable-auto-update", "--password-store=basic",
		"--use-mock-keychain", "--no-service-autorun",
		"--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,CertificateTransparencyComponentUpdater," +
			"AutofillServerCommunication,InterestFeedContentSuggestions,NetworkTimeServiceQuerying,Prerender2,SpeculationRules," +
			"WebBluetooth,WebUSB,WebTransport,IsolateOrigins,site-per-process,AsyncDns,DnsOverHttps,NetworkPrediction," +
			"PreloadPages,PrefetchPrivacyChanges,BackForwardCache,AudioServiceOutOfProcess",
		"--disable-blink-features=WebTransport,AutomationControlled",

		// What pages may not do or do not need.
		"--block-new-web-contents", "--deny-permission-prompts", "--disable-notifications", "--disable-speech-api",
		"--disable-gpu", "--disable-3d-apis", "--disable-hang-monitor", "--disable-prompt-on-repost", "--disable-file-system",
		"--disable-site-isolation-trials", "--js-flags=--max-old-space-size=512", "--disk-cache-size=1048576",
		"--autoplay-policy=document-user-activation-required",

		// Tabs that nobody looks at are not slowed down.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
	}
	if b.options.NoSandbox {
		f = append(f, "--no-sandbox")
	}
	if smallShm() {
		f = append(f, "--disable-dev-shm-usage")
	}
	return append(f, "about:blank")
}

func host(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}
