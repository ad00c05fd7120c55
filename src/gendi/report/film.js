document.querySelectorAll(".film").forEach(function (film) {
  var frames = film.querySelectorAll("img"), last = frames.length - 1, timer = null, key = "gendi-film";
  var slider = film.querySelector("input"), button = film.querySelector("button"), label = film.querySelector("output");
  function show(i) {
    frames.forEach(function (frame, k) { frame.hidden = k !== i; });
    slider.value = i;
    label.textContent = frames[i].alt;
    try { sessionStorage.setItem(key, i === last ? "" : i); } catch (error) { /* a page may have no storage */ }
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }
  slider.addEventListener("input", function () { stop(); show(Number(slider.value)); });
  button.addEventListener("click", function () {
    if (timer !== null) { stop(); return; }
    var i = Number(slider.value) === last ? 0 : Number(slider.value);
    show(i);
    button.textContent = "Stop";
    timer = setInterval(function () { i += 1; show(i); if (i === last) { stop(); } }, 400);
  });
  film.querySelector(".controls").hidden = false;
  var kept = "";
  try { kept = sessionStorage.getItem(key) || ""; } catch (error) { /* a page may have no storage */ }
  show(kept !== "" && Number(kept) < last ? Number(kept) : last);
});
