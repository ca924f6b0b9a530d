"""The guest's side of the Python sandbox: runs cells as a notebook does.

The host calls boot once and exec_json for each cell. Plotting libraries call register_after_cell and save_image. User code
shares the interpreter with this package and can break it, but only for its own session; what a careless cell breaks
(streams, builtins, signal handlers) is put right before the next one.
"""

from _chorale.cells import boot, display, exec_json, register_after_cell, save_image

__all__ = ["boot", "display", "exec_json", "register_after_cell", "save_image"]
