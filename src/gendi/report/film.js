document.querySelectorAll(".film").forEach(function (film) {
  var frames = film.querySelectorAll(".frame"), last = frames.length - 1, timer = null;
  var slider = film.querySelector("input"), button = film.querySelector("button"), label = film.querySelector("output");
  var key = film.dataset.keep, group = film.dataset.group;
  function show(i) {
    frames.forEach(function (frame, k) { frame.hidden = k !== i; });
    slider.value = i;
    label.textContent = frames[i].dataset.text || frames[i].alt;
    film.querySelectorAll("[data-at]").forEach(function (mark) {
      mark.setAttribute("transform", "translate(" + mark.dataset.at.split(" ")[i] + " 0)");
    });
    try { if (key) { sessionStorage.setItem(key, i === last ? "" : i); } } catch (error) { /* a page may have no storage */ }
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }
  function lead(i) {
    show(i);
    document.querySelectorAll(".film").forEach(function (other) {
      if (group && other !== film && other.dataset.group === group) { other.follow(i); }
    });
  }
  film.follow = function (i) { stop(); show(i); };
  slider.addEventListener("input", function () { stop(); lead(Number(slider.value)); });
  button.addEventListener("click", function () {
    if (timer !== null) { stop(); return; }
    var i = Number(slider.value) === last ? 0 : Number(slider.value);
    lead(i);
    button.textContent = "Stop";
    timer = setInterval(function () { i += 1; lead(i); if (i === last) { stop(); } }, 400);
  });
  film.querySelector(".controls").hidden = false;
  var kept = "";
  try { kept = key ? sessionStorage.getItem(key) || "" : ""; } catch (error) { /* a page may have no storage */ }
  show(kept !== "" && Number(kept) < last ? Number(kept) : Number(film.dataset.start || last));
});
