"""Not in this subset."""

raise ImportError("matplotlib here is a subset without mpl_toolkits (3D axes); show values over x and y with pyplot's imshow, pcolormesh, "
                  "contour or contourf")
