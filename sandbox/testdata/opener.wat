;; Opens /m/dir/file, the first mount's, and reads four bytes of it; answers the descriptor.
(module
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "dir/file")
  (func (export "open") (result i32)
    (if (call $open (i32.const 3) (i32.const 1) (i32.const 100) (i32.const 8) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200))
      (then (unreachable)))
    (i32.store (i32.const 0) (i32.const 300)) (i32.store (i32.const 4) (i32.const 4))
    (if (call $read (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 16)) (then (unreachable)))
    (i32.load (i32.const 200)))
)
