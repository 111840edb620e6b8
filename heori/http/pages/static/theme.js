// The colours that somebody has chosen, before anything is drawn.
try {
  const theme = localStorage.getItem("heori-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage may be forbidden; then it is as the system has it */ }
