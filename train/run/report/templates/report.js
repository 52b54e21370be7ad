document.querySelectorAll(".split").forEach(showConfusions);
