;; Small functions that show each thing that the rewriter does.
(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory 1)
  (table $t 2 funcref)
  (elem (i32.const 0) $leaf $recursive)
  (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))       ;; nothing
  (func $caller (result i32) (call $leaf (i32.const 1)))                            ;; nothing but a moved index
  (func $loop (param i32) (loop (br_if 0 (local.tee 0 (call $leaf (local.get 0)))))) ;; entry and loop
  (func $recursive (export "recursive") (call $recursive))                          ;; entry
  (func $host (drop (call $yield)))                                                 ;; nothing
  (func $bulk (memory.fill (i32.const 0) (i32.const 1) (i32.const 2)) (memory.copy (i32.const 0) (i32.const 1) (i32.const 2)) (table.fill $t (i32.const 0) (ref.null func) (i32.const 1)))
)
