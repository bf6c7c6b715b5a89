// Read from a disk, a browser gives a page no worker, and without one there is no search: better none than one that never answers.
if (location.protocol === "file:") document.documentElement.classList.add("from-disk");
