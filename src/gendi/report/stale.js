document.querySelectorAll("[data-written]").forEach(function (note) {
  var age = Date.now() / 1000 - Number(note.dataset.written);
  note.hidden = age < Number(note.dataset.patience);
});
