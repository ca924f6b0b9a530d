// An Extism plugin without the kit of its makers. With HYPER, it lists its tools: 1 in the older way, 2 in the newer.
#include <stdint.h>

#define ENV(name) __attribute__((import_module("extism:host/env"), import_name(name))) extern
typedef uint64_t u64;
ENV("alloc") u64 x_alloc(u64);
ENV("free") void x_free(u64);
ENV("length") u64 x_length(u64);
ENV("load_u8") uint32_t x_load_u8(u64);
ENV("store_u8") void x_store_u8(u64, uint32_t);
ENV("load_u64") u64 x_load_u64(u64);
ENV("input_length") u64 x_input_length(void);
ENV("input_offset") u64 x_input_offset(void);
ENV("input_load_u8") uint32_t x_input_load_u8(u64);
ENV("input_load_u64") u64 x_input_load_u64(u64);
ENV("output_set") void x_output_set(u64, u64);
ENV("error_set") void x_error_set(u64);
ENV("config_get") u64 x_config_get(u64);
ENV("var_get") u64 x_var_get(u64);
ENV("var_set") void x_var_set(u64, u64);
ENV("http_request") u64 x_http_request(u64, u64);
ENV("http_status_code") int32_t x_http_status_code(void);
ENV("log_info") void x_log_info(u64);

static int counter;

static u64 put(const char *s) {
	u64 n = 0;
	while (s[n])
		n++;
	u64 at = x_alloc(n);
	for (u64 i = 0; i < n; i++)
		x_store_u8(at + i, s[i]);
	return at;
}

static void output(u64 block) { x_output_set(block, x_length(block)); }

#ifdef HYPER
#define TOOLS "{\"tools\":[{\"name\":\"say\",\"description\":\"Says it.\",\"inputSchema\":{\"type\":\"object\"," \
	"\"properties\":{\"what\":{\"type\":\"string\"}},\"required\":[\"what\"]}}]}"

// answer makes a CallToolResult whose text is the request, with ' for ".
static int answer(void) {
	u64 n = x_input_length(), at = x_alloc(n + 64), o = at;
	for (const char *s = "{\"content\":[{\"type\":\"text\",\"text\":\""; *s; s++)
		x_store_u8(o++, *s);
	for (u64 i = 0; i < n; i++) {
		uint32_t c = x_input_load_u8(i);
		x_store_u8(o++, c == '"' ? '\'' : c);
	}
	for (const char *s = "\"}]}"; *s; s++)
		x_store_u8(o++, *s);
	x_output_set(at, o - at);
	return 0;
}
#if HYPER == 1
__attribute__((export_name("describe"))) int describe(void) { return output(put(TOOLS)), 0; }
__attribute__((export_name("call"))) int call(void) { return answer(); }
#else
__attribute__((import_module("extism:host/user"), import_name("create_message"))) extern u64 create_message(u64);
__attribute__((export_name("list_tools"))) int list_tools(void) { return output(put(TOOLS)), 0; }
__attribute__((export_name("call_tool"))) int call_tool(void) {
	if (x_input_length() > 200) // an excuse to import it
		create_message(put("{}"));
	return answer();
}
#endif
#else
__attribute__((export_name("echo"))) int echo(void) {
	u64 n = x_input_length(), at = x_alloc(n), i = 0;
	for (; i < n; i++)
		x_store_u8(at + i, i + 8 <= n ? (uint32_t)(x_input_load_u64(i) & 255) : x_load_u8(x_input_offset() + i));
	x_output_set(at, n);
	return 0;
}
__attribute__((export_name("count"))) int count(void) {
	u64 at = x_alloc(1);
	x_store_u8(at, '0' + ++counter);
	x_output_set(at, 1);
	return 0;
}
__attribute__((export_name("fail"))) int fail(void) {
	u64 text = put("about to fail");
	x_log_info(text);
	x_free(text);
	x_error_set(put("on fire"));
	return 1;
}
__attribute__((export_name("config"))) int config(void) {
	u64 value = x_config_get(put("units"));
	output(value ? value : put("none"));
	return 0;
}
__attribute__((export_name("vars"))) int vars(void) {
	if (x_var_get(put("k")))
		return 1;
	x_var_set(put("k"), put("value"));
	output(x_var_get(put("k")));
	return 0;
}
__attribute__((export_name("http"))) int http(void) {
	u64 body = x_http_request(x_input_offset(), 0);
	if (x_http_status_code() != 200)
		return 2;
	output(body);
	return 0;
}
__attribute__((export_name("outside"))) int outside(void) { return x_load_u64(1 << 30) != 0; }
__attribute__((export_name("hoard"))) int hoard(void) {
	u64 n = 0;
	while (x_alloc(1 << 20))
		n++;
	x_output_set(put(n < 64 ? "bounded" : "endless"), 7);
	return 0;
}
__attribute__((export_name("spin"))) int spin(void) {
	for (;;)
		x_length(0);
}
#endif
