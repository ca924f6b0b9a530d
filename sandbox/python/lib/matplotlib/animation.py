"""Not in this subset."""

raise ImportError(
    "matplotlib here is a subset without animation; draw single frames with pyplot and savefig to numbered .png files")
