package chrome

import (
	"fmt"
	"os/exec"
	"strings"
)

// places are where Chromium is looked for, the headless shell first, which starts faster. Debian's commands are scripts
// around what they start, so the programs themselves come before them.
func places() []string {
	return []string{
		"/usr/lib/chromium/chromium-headless-shell", "/usr/lib/chromium/chromium", "/usr/lib/chromium-browser/chromium-browser",
		"chrome-headless-shell", "headless_shell", "headless-shell",
		"/opt/google/chrome/chrome", "google-chrome-stable", "google-chrome", "chromium-headless-shell", "chromium",
		"chromium-browser", "/snap/bin/chromium", "/usr/lib64/chromium-browser/chromium-browser",
		"/Applications/Chromium.app/Contents/MacOS/Chromium",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	}
}

// Find returns the program that is used for a configured path: that one, or the first that is installed for "". "-"
// stands for none. The error says what is missing.
func Find(path string) (string, error) {
	switch path {
	case "-":
		return "", fmt.Errorf("the browser is switched off by the configuration")
	case "":
		for _, p := range places() {
			if found, err := exec.LookPath(p); err == nil {
				return found, nil
			}
		}
		return "", fmt.Errorf("the browser is not installed (on Debian: apt-get install chromium-headless-shell)")
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return "", fmt.Errorf("the browser is not at %s: %s", path, strings.TrimPrefix(err.Error(), "exec: "))
	}
	return found, nil
}
