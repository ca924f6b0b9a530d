// The interpreter as a reactor: the host calls py_boot once, and then py_exec for every cell. All that a cell means (its
// namespace, echo, traceback, result) is in Python, in ../lib/_chorale; this file starts the interpreter and carries
// UTF-8 text in and out.
#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE 1
#include <Python.h>
#include "internal/pycore_pystate.h"
#include "internal/pycore_runtime.h"
#include "internal/pycore_signal.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wasi/api.h>

#define EXPORT(name) __attribute__((export_name(#name), used)) name

// Where the host mounts the artefact. py_boot's request may change sys.path afterwards.
static const wchar_t *const search_path[] = {L"/lib/python3.13", L"/lib/chorale"};

static PyObject *exec_json;  // _chorale.exec_json
static PyObject *result;     // bytes of the last result, or NULL while broken_result stands in
static const char broken_result[] =
    "{\"status\":\"error\",\"exit_code\":0,\"value\":null,\"error\":{\"type\":\"SystemError\","
    "\"message\":\"the cell broke the code that runs cells\"},\"images\":[]}";

// The C library's nanosleep reports every end as ENOTSUP. The sandbox wakes a sleeper with EINTR to interrupt it, and
// CPython looks at its signals only then.
int nanosleep(const struct timespec *request, struct timespec *remaining) {
  if (request->tv_sec < 0 || request->tv_nsec < 0 || request->tv_nsec >= 1000000000) {
    errno = EINVAL;
    return -1;
  }
  __wasi_timestamp_t limit = UINT64_MAX, t = limit;
  if ((uint64_t)request->tv_sec < limit / 1000000000 - 1) t = request->tv_sec * 1000000000ull + request->tv_nsec;
  __wasi_subscription_t wait = {
      .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = t}}};
  __wasi_event_t event;
  __wasi_size_t n;
  __wasi_errno_t error = __wasi_poll_oneoff(&wait, &event, 1, &n);
  if (error == 0) error = event.error;
  if (error == 0) return 0;
  if (remaining) *remaining = *request;
  errno = error;
  return -1;
}

void *EXPORT(py_alloc)(size_t n) { return malloc(n); }
void EXPORT(py_free)(void *p) { free(p); }

static PyStatus initialise(void) {
  PyPreConfig pre;
  PyPreConfig_InitIsolatedConfig(&pre);
  pre.utf8_mode = 1;
  PyStatus status = Py_PreInitialize(&pre);
  if (PyStatus_Exception(status)) return status;

  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  config.site_import = 0;
  config.write_bytecode = 0;
  config.install_signal_handlers = 1;
  config.use_hash_seed = 1;  // all sessions fork from one image, so there is one seed anyway: let builds agree too
  config.hash_seed = 0;
  config.pathconfig_warnings = 0;
  config.parse_argv = 0;
  const struct {
    wchar_t **at;
    const wchar_t *value;
  } names[] = {
      {&config.prefix, L"/"},           {&config.exec_prefix, L"/"},
      {&config.base_prefix, L"/"},      {&config.base_exec_prefix, L"/"},
      {&config.executable, L"/bin/python"}, {&config.program_name, L"python"},
      {&config.stdlib_dir, L"/lib/python3.13"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names && !PyStatus_Exception(status); i++)
    status = PyConfig_SetString(&config, names[i].at, names[i].value);
  config.module_search_paths_set = 1;
  for (size_t i = 0; i < sizeof search_path / sizeof *search_path && !PyStatus_Exception(status); i++)
    status = PyWideStringList_Append(&config.module_search_paths, search_path[i]);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  return status;
}

// call calls f with UTF-8 text.
static PyObject *call(PyObject *f, const char *text, size_t n) {
  PyObject *s = PyUnicode_DecodeUTF8(text, (Py_ssize_t)n, NULL);
  if (!s) return NULL;
  PyObject *r = PyObject_CallOneArg(f, s);
  Py_DECREF(s);
  return r;
}

// forget_interrupt drops an interrupt that came when there was nothing left to interrupt.
static void forget_interrupt(void) {
  _Py_atomic_store_int(&_PyRuntime.signals.is_tripped, 0);
  _Py_atomic_store_int(&_PyRuntime.signals.handlers[SIGINT].tripped, 0);
}

int EXPORT(py_boot)(const char *request, size_t n) {
  if (exec_json) return 1;
  PyStatus status = initialise();
  if (PyStatus_Exception(status)) {
    fprintf(stderr, "start python: %s: %s\n", status.func ? status.func : "", status.err_msg ? status.err_msg : "");
    return 2;
  }
  PyObject *runner = PyImport_ImportModule("_chorale");
  PyObject *boot = runner ? PyObject_GetAttrString(runner, "boot") : NULL;
  PyObject *done = boot ? call(boot, request, n) : NULL;
  PyObject *exec = done ? PyObject_GetAttrString(runner, "exec_json") : NULL;
  Py_XDECREF(done);
  Py_XDECREF(boot);
  Py_XDECREF(runner);
  if (!exec) {
    PyErr_Print();
    return 3;
  }
  exec_json = exec;
  return 0;
}

// py_exec runs a cell. It returns 0 for "ok", 1 for "error" and 2 for "exit", as the result's status says.
int EXPORT(py_exec)(const char *request, size_t n) {
  if (!exec_json) return -1;
  forget_interrupt();
  Py_CLEAR(result);
  PyObject *r = call(exec_json, request, n);
  forget_interrupt();
  PyObject *text;
  int code;
  if (r && PyArg_ParseTuple(r, "iS", &code, &text)) {
    result = Py_NewRef(text);
  } else {
    PyErr_Clear();
    code = 1;
  }
  Py_XDECREF(r);
  return code;
}

const char *EXPORT(py_result_ptr)(void) { return result ? PyBytes_AS_STRING(result) : broken_result; }
size_t EXPORT(py_result_len)(void) { return result ? (size_t)PyBytes_GET_SIZE(result) : sizeof broken_result - 1; }

// What the host sets to interrupt the running cell: bit 1 of the first, a pointer-sized word; 1 in the two others, ints.
void *EXPORT(py_eval_breaker)(void) { return &PyThreadState_Get()->eval_breaker; }
void *EXPORT(py_signals_tripped)(void) { return (void *)&_PyRuntime.signals.is_tripped; }
void *EXPORT(py_sigint_tripped)(void) { return (void *)&_PyRuntime.signals.handlers[SIGINT].tripped; }

// py_gc runs a full collection and returns how many objects it freed.
int EXPORT(py_gc)(void) { return (int)PyGC_Collect(); }
