// The engine as a reactor: the host calls js_boot once, js_load for a script, and then js_run in a fork for every run of
// it. What a script finds (console, fetch, files, timers) is JavaScript, in ../lib/prelude.js, which js_boot gets; this file
// carries bytes between that and WASI, and drives the jobs of promises.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(#name), used)) name

// Of the stack that the linker reserves. What is left is for the C code that a script calls at the limit.
#define SCRIPT_STACK (3 << 19)

static JSContext *ctx;
static JSValue script = JS_UNDEFINED; // compiled, not evaluated
static JSValue run, tick;             // functions of the prelude
static uint64_t random_state[2];
static char *message; // of the last failure of js_boot and js_load
static size_t message_len;

void *EXPORT(js_alloc)(size_t n) { return malloc(n); }
const char *EXPORT(js_message_ptr)(void) { return message; }
size_t EXPORT(js_message_len)(void) { return message_len; }

// A buffer grows as it is read into.
typedef struct {
  uint8_t *data;
  size_t len, cap;
} buffer;

// read_all reads a file to its end. It returns false with errno.
static int read_all(int fd, buffer *b) {
  struct stat st;
  b->cap = fstat(fd, &st) == 0 && st.st_size > 0 ? (size_t)st.st_size + 1 : 65536;
  b->len = 0;
  b->data = malloc(b->cap);
  for (;;) {
    if (b->data && b->len == b->cap) {
      uint8_t *more = realloc(b->data, b->cap *= 2);
      if (!more) free(b->data);
      b->data = more;
    }
    if (!b->data) {
      errno = ENOMEM;
      return 0;
    }
    ssize_t n = read(fd, b->data + b->len, b->cap - b->len);
    if (n == 0) return 1;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int e = errno;
      free(b->data);
      errno = e;
      return 0;
    }
    b->len += (size_t)n;
  }
}

static int write_all(int fd, const void *data, size_t len) {
  for (const char *p = data; len > 0;) {
    ssize_t n = write(fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    p += n;
    len -= (size_t)n;
  }
  return 1;
}

// fail throws an Error for errno, with its number's name as code.
static JSValue fail(JSContext *c, const char *path) {
  int e = errno;
  JSValue error = JS_NewError(c);
  char text[512];
  snprintf(text, sizeof text, "%s: %s", path, strerror(e));
  JS_DefinePropertyValueStr(c, error, "message", JS_NewString(c, text), JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
  JS_DefinePropertyValueStr(c, error, "missing", JS_NewBool(c, e == ENOENT), JS_PROP_C_W_E);
  return JS_Throw(c, error);
}

static JSValue take(JSContext *c, buffer *b) {
  JSValue v = JS_NewUint8ArrayCopy(c, b->data, b->len);
  free(b->data);
  return v;
}

static JSValue native_read(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  const char *path = JS_ToCString(c, argv[0]);
  if (!path) return JS_EXCEPTION;
  buffer b;
  int fd = open(path, O_RDONLY), ok = fd >= 0 && read_all(fd, &b);
  JSValue v = ok ? take(c, &b) : fail(c, path);
  if (fd >= 0) close(fd);
  JS_FreeCString(c, path);
  return v;
}

// bytes_of gives the bytes of a Uint8Array or of the UTF-8 of a string; *text is to be freed if it is not NULL.
static const void *bytes_of(JSContext *c, JSValueConst v, size_t *len, const char **text) {
  *text = NULL;
  if (JS_GetTypedArrayType(v) == JS_TYPED_ARRAY_UINT8) {
    const uint8_t *p = JS_GetUint8Array(c, len, v);
    return p ? (const void *)p : "";
  }
  return *text = JS_ToCStringLen(c, len, v);
}

static JSValue native_write(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  const char *path = JS_ToCString(c, argv[0]), *text;
  if (!path) return JS_EXCEPTION;
  size_t len;
  const void *data = bytes_of(c, argv[1], &len, &text);
  JSValue v = JS_EXCEPTION;
  if (data) {
    int fd = open(path, O_WRONLY | O_CREAT | (JS_ToBool(c, argv[2]) ? O_APPEND : O_TRUNC), 0666);
    int ok = fd >= 0 && write_all(fd, data, len), e = errno;
    if (fd >= 0 && close(fd) != 0 && ok) ok = 0, e = errno;
    errno = e;
    v = ok ? JS_UNDEFINED : fail(c, path);
  }
  if (text) JS_FreeCString(c, text);
  JS_FreeCString(c, path);
  return v;
}

static JSValue native_list(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  const char *path = JS_ToCString(c, argv[0]);
  if (!path) return JS_EXCEPTION;
  DIR *d = opendir(path);
  JSValue v = d ? JS_NewArray(c) : fail(c, path);
  uint32_t n = 0;
  for (struct dirent *e; d && (e = readdir(d));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) JS_SetPropertyUint32(c, v, n++, JS_NewString(c, e->d_name));
  if (d) closedir(d);
  JS_FreeCString(c, path);
  return v;
}

static JSValue native_remove(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  const char *path = JS_ToCString(c, argv[0]);
  if (!path) return JS_EXCEPTION;
  JSValue v = unlink(path) == 0 ? JS_UNDEFINED : fail(c, path);
  JS_FreeCString(c, path);
  return v;
}

// send(path, text) writes a request to a service of the host and does not wait. receive(number) reads the answer.
static JSValue native_send(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  const char *path = JS_ToCString(c, argv[0]);
  if (!path) return JS_EXCEPTION;
  size_t len;
  const char *text = JS_ToCStringLen(c, &len, argv[1]);
  JSValue v = JS_EXCEPTION;
  if (text) {
    int fd = open(path, O_RDWR);
    if (fd >= 0 && write_all(fd, text, len) && fsync(fd) == 0) {
      v = JS_NewInt32(c, fd);
    } else {
      v = fail(c, path);
      if (fd >= 0) close(fd);
    }
    JS_FreeCString(c, text);
  }
  JS_FreeCString(c, path);
  return v;
}

static JSValue native_receive(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  int32_t fd;
  if (JS_ToInt32(c, &fd, argv[0])) return JS_EXCEPTION;
  buffer b;
  JSValue v = read_all(fd, &b) ? take(c, &b) : fail(c, "receive");
  close(fd);
  return v;
}

// emit(stream, text) writes to standard output (1) or the log (2).
static JSValue native_emit(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  int32_t fd;
  size_t len;
  if (JS_ToInt32(c, &fd, argv[0])) return JS_EXCEPTION;
  const char *text = JS_ToCStringLen(c, &len, argv[1]);
  if (!text) return JS_EXCEPTION;
  int ok = write_all(fd == 1 ? 1 : 2, text, len);
  JS_FreeCString(c, text);
  return ok ? JS_UNDEFINED : fail(c, "output");
}

static JSValue native_encode(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  const char *text = JS_ToCStringLen(c, &len, argv[0]);
  if (!text) return JS_EXCEPTION;
  JSValue v = JS_NewUint8ArrayCopy(c, (const uint8_t *)text, len);
  JS_FreeCString(c, text);
  return v;
}

static JSValue native_decode(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  const uint8_t *p = JS_GetUint8Array(c, &len, argv[0]);
  if (!p && JS_GetTypedArrayType(argv[0]) != JS_TYPED_ARRAY_UINT8) return JS_ThrowTypeError(c, "not a Uint8Array");
  return JS_NewStringLen(c, p ? (const char *)p : "", p ? len : 0);
}

static JSValue native_sleep(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  double ms;
  if (JS_ToFloat64(c, &ms, argv[0])) return JS_EXCEPTION;
  struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)((ms - 1000.0 * (double)(time_t)(ms / 1000)) * 1e6)};
  nanosleep(&t, NULL);
  return JS_UNDEFINED;
}

// fill(bytes) makes random bytes.
static JSValue native_fill(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  uint8_t *p = JS_GetUint8Array(c, &len, argv[0]);
  if (p && __wasi_random_get(p, len) != 0) return JS_ThrowInternalError(c, "no random numbers");
  return JS_DupValue(c, argv[0]);
}

// Math.random: xorshift128+, seeded in every run. The engine's own generator would begin alike in all of them.
static JSValue native_random(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  uint64_t x = random_state[0], y = random_state[1];
  random_state[0] = y;
  x ^= x << 23;
  random_state[1] = x ^ y ^ (x >> 17) ^ (y >> 26);
  return JS_NewFloat64(c, (double)((random_state[1] + y) >> 11) * 0x1p-53);
}

// evaluate() runs the script's module and returns a promise; namespace() gives what it exports then.
static JSValue native_evaluate(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  return JS_EvalFunction(c, JS_DupValue(c, script));
}

static JSValue native_namespace(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  return JS_GetModuleNamespace(c, JS_VALUE_GET_PTR(script));
}

static const JSCFunctionListEntry natives[] = {
    JS_CFUNC_DEF("read", 1, native_read),         JS_CFUNC_DEF("write", 3, native_write),
    JS_CFUNC_DEF("list", 1, native_list),         JS_CFUNC_DEF("remove", 1, native_remove),
    JS_CFUNC_DEF("send", 2, native_send),         JS_CFUNC_DEF("receive", 1, native_receive),
    JS_CFUNC_DEF("emit", 2, native_emit),         JS_CFUNC_DEF("encode", 1, native_encode),
    JS_CFUNC_DEF("decode", 1, native_decode),     JS_CFUNC_DEF("sleep", 1, native_sleep),
    JS_CFUNC_DEF("fill", 1, native_fill),         JS_CFUNC_DEF("random", 0, native_random),
    JS_CFUNC_DEF("evaluate", 0, native_evaluate), JS_CFUNC_DEF("namespace", 0, native_namespace),
};

// keep_exception makes the pending exception the message: its text, and where it was thrown.
static void keep_exception(void) {
  JSValue e = JS_GetException(ctx);
  JSValue stack = JS_IsObject(e) ? JS_GetPropertyStr(ctx, e, "stack") : JS_UNDEFINED;
  const char *text = JS_ToCString(ctx, e), *where = JS_IsString(stack) ? JS_ToCString(ctx, stack) : NULL;
  free(message);
  message = NULL;
  int n = asprintf(&message, "%s\n%s", text ? text : "out of memory", where ? where : "");
  message_len = n > 0 ? (size_t)n : 0;
  if (text) JS_FreeCString(ctx, text);
  if (where) JS_FreeCString(ctx, where);
  JS_FreeValue(ctx, stack);
  JS_FreeValue(ctx, e);
}

static void new_stack(void) { JS_UpdateStackTop(JS_GetRuntime(ctx)); }

// js_boot makes the context and evaluates the prelude, a function that takes the natives and returns [run, tick]. The text
// must be followed by a zero, as everywhere here.
int EXPORT(js_boot)(const char *prelude, size_t len) {
  JSRuntime *rt = JS_NewRuntime();
  ctx = rt ? JS_NewContext(rt) : NULL;
  if (!ctx || JS_AddPerformance(ctx)) return -1;
  JS_SetMaxStackSize(rt, SCRIPT_STACK);
  JSValue host = JS_NewObject(ctx);
  JS_SetPropertyFunctionList(ctx, host, natives, sizeof natives / sizeof *natives);
  JSValue f = JS_Eval(ctx, prelude, len, "<prelude>", JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_STRICT);
  JSValue pair = JS_IsException(f) ? JS_EXCEPTION : JS_Call(ctx, f, JS_UNDEFINED, 1, &host);
  if (JS_IsException(pair)) {
    keep_exception();
    return 1;
  }
  run = JS_GetPropertyUint32(ctx, pair, 0);
  tick = JS_GetPropertyUint32(ctx, pair, 1);
  JS_FreeValue(ctx, pair);
  JS_FreeValue(ctx, f);
  JS_FreeValue(ctx, host);
  return 0;
}

// js_load compiles a module: 0, or 1 with a message.
int EXPORT(js_load)(const char *name, const char *text, size_t len) {
  new_stack();
  script = JS_Eval(ctx, text, len, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  if (!JS_IsException(script)) return 0;
  keep_exception();
  return 1;
}

// tool is the second argument of the program. The C library reads arguments for programs only.
static char *tool(void) {
  __wasi_size_t n, bytes;
  if (__wasi_args_sizes_get(&n, &bytes) != 0 || n < 2) return "";
  uint8_t **argv = malloc(n * sizeof *argv), *text = malloc(bytes);
  if (!argv || !text || __wasi_args_get(argv, text) != 0) return "";
  return (char *)argv[1];
}

static int say(const char *text) {
  write_all(2, text, strlen(text));
  return 1;
}

// js_run runs the script with the arguments on standard input and returns the exit code.
int EXPORT(js_run)(void) {
  new_stack();
  if (__wasi_random_get((uint8_t *)random_state, sizeof random_state) != 0) return say("no random numbers\n");
  random_state[0] |= 1; // all zeros would stay that
  buffer in;
  if (!read_all(0, &in)) return say(errno == ENOMEM ? "out of memory\n" : "the arguments cannot be read\n");
  JSValueConst args[] = {JS_NewString(ctx, tool()), JS_NewStringLen(ctx, (char *)in.data, in.len)};
  free(in.data);
  JSValue promise = JS_Call(ctx, run, JS_UNDEFINED, 2, args);
  for (;;) {
    JSContext *c;
    while (JS_ExecutePendingJob(JS_GetRuntime(ctx), &c) > 0 && JS_PromiseState(ctx, promise) == JS_PROMISE_PENDING) {
    }
    if (JS_PromiseState(ctx, promise) != JS_PROMISE_PENDING) break;
    JSValue more = JS_Call(ctx, tick, JS_UNDEFINED, 0, NULL);
    if (JS_IsException(more)) break;
    if (!JS_ToBool(ctx, more)) return say("the tool waits for a promise that nothing will settle\n");
  }
  int32_t code = 1;
  if (JS_PromiseState(ctx, promise) == JS_PROMISE_FULFILLED) {
    JSValue v = JS_PromiseResult(ctx, promise);
    JS_ToInt32(ctx, &code, v);
    return code;
  }
  return say("out of memory\n"); // whatever else goes wrong, the prelude catches
}
