// What the tests ask a page; tests/browser.py puts it before each question.

// What is wrong with a page, when everything folded is opened: nothing, as a rule.
function faults() {
    const found = [];
    document.querySelectorAll('details').forEach(one => one.open = true);
    for (const name of ['img', 'math', 'table']) {
        document.querySelectorAll(name).forEach((one, i) => {
            const box = one.getBoundingClientRect();
            if (box.width <= 1 || box.height <= 1 || one.naturalWidth === 0)
                found.push(`${name} ${i + 1} is not shown`);
            if (name === 'img' && !one.alt) found.push(`img ${i + 1} has no alt text`);
        });
    }
    return found;
}

// How long each sound is, in seconds; 0 until the browser knows.
function durations() {
    return [...document.querySelectorAll('audio')].map(one => one.duration || 0);
}

// Moves a slider, or writes a number, as a hand would.
function setValue(control, value) {
    control.value = value;
    control.dispatchEvent(new Event('input'));
}

// In JupyterLab: starts all cells; false until the kernel waits, or it would ask for one.
function runAllCells() {
    const app = window.jupyterapp;
    const kernel = app?.shell.currentWidget?.sessionContext?.session?.kernel;
    if (kernel?.status !== 'idle') return false;
    app.commands.execute('notebook:run-all-cells');
    return true;
}

// In JupyterLab: how many explorers are there, and how many of them without their controls.
function explorers() {
    return ['.explorer', '.explorer[data-explorer]'].map(
        name => document.querySelectorAll('.jp-OutputArea ' + name).length
    );
}
