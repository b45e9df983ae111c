# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Setting up: rules, packages, device, data
#
# **What you will learn**
# - what is allowed in this lab, and how to work in a private Kaggle kernel
# - whether this machine has what the notebooks need, and what to do when it has not
# - what lies in the data folder: sub-folders, label files with their quirks, and arrays
#
# **Needs** nothing. **Leaves** the data: the lab's own where they are found, else a demo set that is built here; and
# a table of what was found.
#
# **Takes** a few seconds on the demo set with two CPU cores; the demo set is built the first time, in three to five
# minutes. With the lab's data: the label files and one array per folder are all that is read.
#
# **The one insight:** look at the data before you train on them; a wrong folder found now costs a minute, later a
# night.
#
# **How to read:** the core path takes about 25 minutes. Answer each **Predict** in your head before you open it;
# extras are folded.

# %% [markdown]
# ## rules · What is allowed
#
# > **Handout.** *Ομάδες έως δύο ατόμων, εφόσον φοιτούν στο ίδιο πρόγραμμα σπουδών· η αναφορά είναι δικό σας έργο, οι
# > πηγές αναφέρονται, και οι λύσεις δεν δημοσιεύονται.* Teams of up to two who follow the same programme of studies;
# > the report is your own work, sources are cited, and solutions are not published.
#
# - You work alone or in **teams of two**. The members of a team follow the **same programme of studies**: both
#   undergraduate or both postgraduate.
# - The report is **your own work**: text, figures and numbers come from what you ran yourself.
# - Whatever you took from elsewhere (code, text, figures; the course's material excepted) is **cited**, this kit
#   included.
# - **Solutions are not published**, neither on GitHub nor anywhere else; Kaggle kernels stay **private**.
# - You hand in one `.zip` file (no rar, tar or 7z), `patrec1_<id1>_<id2>.zip`, with the report as PDF, the members'
#   names on its first page, and the commented code as `.py`. **One of the two** submits it. Notebooks and HTML are
#   refused as a report (2021-22).

# %% [markdown] tags=["extra"]
# ## Three editions, one numbering
#
# The notebooks carry the numbers of the handout of 2021-22. If yours has a step 7.2 (the Audio Spectrogram
# Transformer), it is the one that is asked since 2024-25:
#
# | from 2024-25 on | here | step |
# |---|---|---|
# | 1δ | 1δ | the mel scale; new |
# | 7.1 | 7 | the CNN |
# | 7.2 | 7.2 | the Audio Spectrogram Transformer; new. It is a third regressor in 8α, and may be chosen in 9β |
# | 11 | 11b | maps of latent vectors, in place of the Kaggle submission, for which there is no competition any more |
# | 0 to 6, 8 to 10 | the same | 5ζ is obligatory |
#
# The zip is then `patrec2_<id1>_<id2>.zip`, and notebooks may be packed beside the `.py`. `--edition 2024` (or 2019) gives
# report and hand-in these numbers and rules. If you have the edition of 2019-20, where transfer is 9α, look here:
#
# | 2019-20 | 2021-22, used here | step |
# |---|---|---|
# | 0 to 4 | 0 to 4 | the same; 2019-20 also asks in 4β why merging and dropping is needed |
# | 5 (a hint) | 5β | a few epochs on few batches to catch mistakes; since 2021-22 the parameter `overfit_batch` |
# | 5α | 5γ | LSTM on mel spectrograms |
# | 5β | 5δ | LSTM on beat-synchronous mel spectrograms |
# | 5γ | 5ε | LSTM on chromagrams |
# | 5δ | 5ζ | LSTM on chroma and mel together (extra credit) |
# | 6 to 8 | 6 to 8 | the same |
# | 9α | 9 | transfer learning (optional for postgraduates in 2019-20) |
# | 9β | 10 | multitask learning (optional for postgraduates in 2019-20) |
# | 10 | 11 | Kaggle submission (optional) |
#
# In step 7ε the handout of 2021-22 still says "5α" where it means 5γ: a leftover of the older numbering. In 2019-20 a
# notebook was accepted as the report, and the zip was due before the session. Steps 0-6 are done before the session,
# 7-11 during and after it.

# %% [markdown]
# ## 0 · A private Kaggle kernel
#
# > **Handout.** *Ανοίξτε έναν ιδιωτικό πυρήνα στο Kaggle, φορτώστε τα δεδομένα, δείτε τους υποφακέλους τους, ανοίξτε
# > και κλείστε τη GPU, αποθηκεύστε μια έκδοση.* Open a private Kaggle kernel, load the data, list their sub-folders,
# > switch the GPU on and off, save a version.
#
# A Kaggle kernel (now called notebook) is a Jupyter notebook on a borrowed machine, with a GPU if you ask for one.
# The course has [one that loads the data](https://www.kaggle.com/code/geoparslp/lab3-data-loading-tutorial): *Copy &
# Edit* it, or begin with an empty one:
#
# 1. **Open it.** Sign in, *Create, New Notebook*. Check under *Share* that it says **private**.
# 2. **Load the data.** *Add Input*, search for `geoparslp/patreco3-multitask-affective-music`, add it. It is mounted,
#    read-only, below `/kaggle/input`. Add this kit in the same way, uploaded as a private data set of your own.
# 3. **List the sub-folders** of the data: the cells below do it, wherever the data lie.
# 4. **GPU on:** *Settings, Accelerator, GPU T4 x2* (a P100 is too old for today's PyTorch). Kaggle wants a verified
#    phone number for that. The session starts anew: every variable is lost, so run all cells again. For sizes and
#    epochs of the full data, begin the first cell with `import os; os.environ["MUSICLAB_PROFILE"] = "full"`.
# 5. **GPU off:** the same menu, *None*. The hours are counted while the session is open, whether you compute or not.
#    Write and debug without a GPU, on few batches; switch it on for the long trainings.
# 6. **Save a version:** *Save Version*. *Quick Save* keeps the notebook as it looks now; *Save & Run All* runs it
#    from top to bottom in the background and keeps its output. What was written to `/kaggle/working` belongs to the
#    version, and a later kernel can take it as input: *Add Input*, then your notebook's output. This is how
#    checkpoints travel.
#
# In JupyterLab or a terminal none of this is needed: `./run_all.sh lab`, or `python py/00_setup.py`. And from a
# terminal of your own `./run_all.sh kaggle-push` does all of it: private kernels with data, kit and GPU, one per
# notebook, run in order.

# %% [markdown] tags=["setup"]
# ## Set-up

# %% tags=["setup"]
# Find `helpers`: installed, or beside this file, above the working folder, or on Kaggle.
import sys
from pathlib import Path

try:
    import helpers.machinery  # noqa: F401
except ImportError:
    here = Path(globals().get("__file__", "notebook")).resolve()
    places = [*here.parents, *Path.cwd().parents]
    places += [found.parents[1] for found in Path("/kaggle/input").glob("**/helpers/machinery")]
    hits = [place for place in places if (place / "helpers" / "machinery").is_dir()]
    assert hits, "no folder helpers/ found: take the whole repository (on Kaggle as a data set)"
    sys.path.insert(0, str(hits[0]))

# %% [markdown] tags=["setup"]
# ### Are all packages there?
#
# Kaggle brings most of them; which ones, and how new, changes from month to month. So each one is really imported
# here, because a package can be installed and still fail. This comes first, as the rest of the kit needs them.

# %% tags=["setup"]
# What the kit imports.
import importlib
import platform
from importlib import metadata

from helpers.machinery.files import LabError

assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"
PACKAGES = {  # name in an import -> name of the package
    "torch": "torch", "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn",
    "pandas": "pandas", "matplotlib": "matplotlib", "seaborn": "seaborn", "librosa": "librosa",
    "soundfile": "soundfile", "tqdm": "tqdm", "safetensors": "safetensors", "yaml": "pyyaml",
    "packaging": "packaging", "IPython": "ipython",
}  # fmt: skip


def import_problem(module):
    """Why a module cannot be imported, in one line; empty when it can."""
    try:
        importlib.import_module(module)
        return ""
    except Exception as error:  # a broken package may raise anything
        return f"{type(error).__name__}: {error}".splitlines()[0]


# %% tags=["setup"]
# Each of them is imported; what fails is said with its reason.
problems = {package: import_problem(module) for module, package in PACKAGES.items()}
missing = [package for package, problem in problems.items() if problem]
for package in missing:
    print(f"{package}: {problems[package]}")
if missing:
    raise LabError(
        f"{len(missing)} packages cannot be imported; run `%pip install {' '.join(missing)}` in a "
        "cell of its own (on Kaggle switch Internet on in the settings first), then restart the "
        "session and run this again"
    )
print(f"all {len(PACKAGES)} packages can be imported, Python {platform.python_version()}")

# %% tags=["setup"]
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2
import gzip
import os
import shutil
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from packaging.requirements import Requirement
from torch import nn

import helpers
from demo_music.build import build_demo
from helpers import features, folders, plots
from helpers.machinery.arrays import N_ROWS, open_array, read_array, read_n_frames
from helpers.machinery.files import cache_dir
from helpers.machinery.process import pick_device, seed_everything, training_dtype
from helpers.machinery.profiles import apply_profile
from helpers.notebook.checking import agree
from helpers.notebook.records import open_record
from helpers.notebook.showing import Sentence, show_table, tell

notebook = "00_setup"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
demo_size = 1.0  # of the demo set, should it be built here; 1.0 is the whole of it

# %% tags=["setup"]
apply_profile(globals())

# %% [markdown]
# ## This machine
#
# ### Which versions?
#
# Results depend on them: note them in your report. `pyproject.toml` says what the kit works with.


# %% tags=["told"]
def wanted_versions():
    """What pyproject.toml asks for, {package: range}; empty where the kit came without it."""
    file = Path(helpers.__file__).parents[1] / "pyproject.toml"
    lines = tomllib.loads(file.read_text())["project"]["dependencies"] if file.is_file() else []
    return {requirement.name: requirement.specifier for requirement in map(Requirement, lines)}


wanted = wanted_versions()
rows = []
for package in PACKAGES.values():
    found, needed = metadata.version(package), wanted.get(package, "")
    fits = not needed or needed.contains(found, prereleases=True)
    rows.append({"package": package, "version": found, "needed": str(needed), "fits": fits})
versions = pd.DataFrame(rows).set_index("package").rename_axis(None)
show_table(versions)
unfit = versions.index[~versions["fits"]].tolist()
tell(
    "**Outside the range that the kit was made for: {packages}.** It may still work; if "
    "not, install these." if unfit else
    "All versions are in the ranges that the kit works with.",
    packages=unfit,
)  # fmt: skip


# %% [markdown]
# ### Which machine?
#
# `device = "auto"` takes the GPU when one answers; `device = "cpu"` switches it off for a notebook, without touching
# Kaggle's menu. The last lines compute something on the device, because a GPU can be seen and still be too old for
# the installed PyTorch.


# %%
def size_text(n_bytes):
    """Bytes as text in MiB or GiB."""
    return f"{n_bytes / 2**20:.1f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GiB"


# %%
# Everything that decides how long the notebooks take, and the last digits of what they compute.
seed_everything(seed)
compute = pick_device(device)
machine = {
    "system": f"{platform.system()} {platform.machine()}",
    "processor": torch.backends.cpu.get_cpu_capability(),
    "threads for PyTorch": torch.get_num_threads(),
    "memory in all": size_text(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
    "free disk": size_text(shutil.disk_usage(cache_dir()).free),
    "device": str(compute),
    "trainings compute in": str(training_dtype(compute)).removeprefix("torch."),
}
if compute.type == "cuda":
    gpu = torch.cuda.get_device_properties(compute)
    machine |= {"GPU": gpu.name, "GPU memory": size_text(gpu.total_memory)}
show_table(pd.DataFrame({"this machine": machine}))

# %%
# A product of ones, whose sum is known.
try:
    ones = torch.ones(4, 4, device=compute)
    assert float(ones.matmul(ones).sum()) == 64
except RuntimeError as error:
    raise LabError(
        f"{compute} is there but cannot compute ({str(error).splitlines()[0]}); choose another "
        'accelerator, or write device = "cpu" in the parameter cell'
    ) from error
tell("The notebooks will compute on **{device}**.", device=machine.get("GPU", "the CPU"))


# %% [markdown]
# ## What repeats, and where
#
# A *seed* fixes every random number: first weights, order of the clips, dropout. Does the same seed then give the
# same network? We train a tiny network on noise, 200 steps, and compare all its weights with those of a first
# training:
#
# - **again**: nothing is changed;
# - **clips turned around**: in each batch the same 16 clips, the last one first. The gradient is a *sum* over the
#   clips, so on paper nothing changes;
# - **bfloat16**: products in numbers of 16 bits, which some processors and GPUs compute faster (the kit's trainings
#   use it where the table above says so).
#
# **Predict.** Which of the three ends with the same weights?
#
# <details><summary>What to expect, and why</summary>
#
# Only the first. In floating point $(a + b) + c$ is not $a + (b + c)$: another order of the sum changes the last
# digit, the seventh or eighth. Each step then computes its gradient at slightly other weights, so the difference
# grows: after some hundred steps they are two different networks. With bfloat16 the same happens, but from a larger
# beginning.
#
# </details>


# %%
def weights_along_a_training(turned=False, bfloat16=False, n_steps=200):
    """Train on noise; all weights after each step: [n_steps, n_weights]."""
    seed_everything(seed)
    layers = []
    for _ in range(4):
        layers += [nn.Linear(32, 32), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(32, 10))
    x, y = torch.randn(256, 32), torch.randint(10, (256,))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    after = []
    for _ in range(n_steps):
        batch = torch.randint(256, (16,))
        batch = batch.flip(0) if turned else batch
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after.append(torch.cat([weight.detach().flatten() for weight in network.parameters()]))
    return torch.stack(after)


# %%
# The largest difference of a weight to the first training.
first_training = weights_along_a_training()
changes = {"again": {}, "clips turned around": {"turned": True}, "bfloat16": {"bfloat16": True}}
compared = {}
for what, change in changes.items():
    gaps = (weights_along_a_training(**change) - first_training).abs().amax(1)
    compared[what] = {"equal to the last byte": "no" if gaps.any() else "yes"}
    for step in (1, 10, 100, 200):
        compared[what][f"step {step}"] = f"{gaps[step - 1]:.0e}" if gaps[step - 1] else "0"
show_table(pd.DataFrame(compared).T)

# %% tags=["told"]
# Whether the first row says "yes", and how the second one grows.
again = compared["again"]["equal to the last byte"] == "yes"
tell(
    "**Verdict.** On this machine the same seed gives the same weights, to the last byte. A change "
    "of {small} after one step, from nothing but the order of a sum, is one of {large} after 200."
    if again else
    "**Verdict.** On this machine the same seed does not give the same weights again; look for "
    "what changes between two runs.",
    small=compared["clips turned around"]["step 1"],
    large=compared["clips turned around"]["step 200"],
)  # fmt: skip

# %% [markdown]
# What chooses the order of a sum? The processor's instructions, the number of threads, the version of PyTorch, the
# GPU. So expect: same machine, same settings, same seed: the same numbers. Another machine: last digits that differ,
# then trainings that drift apart, as if the seed were another one.
#
# **The lesson for every comparison in this lab:** a difference between two models that is no larger than the
# difference between two *seeds* may change its sign on your neighbour's machine. So a verdict takes several seeds,
# and an interval.

# %% [markdown]
# ## 0 · The data folder
#
# ### Where the data are
#
# `auto` looks in `$MUSICLAB_DATA`, below `/kaggle/input`, in `./data`, and then for a demo set. Where there is
# nothing, the demo set is built: synthesised music in the lab's 20 genres, written in the lab's layout with the same
# quirks, so that every notebook runs before you have downloaded anything. It is built once; an interrupted build goes
# on where it stopped. **Its scores say nothing about real music.**


# %%
def find_or_build():
    """The data folder; the demo set is built when asked for, or when nothing else is found."""
    if data != "demo":
        try:
            return folders.find_data(data)
        except LabError:
            if data != "auto" or os.environ.get("MUSICLAB_DATA"):
                raise  # a folder that was named must exist
        print("none of the lab's data found: building the demo set, which takes some minutes")
    return build_demo(size=max(demo_size, folders.demo_size()))


# %%
# From here on everything reads from `root`.
root = find_or_build()
record = open_record(notebook, root, seed)
is_demo = folders.is_demo(root)
size = Sentence(" (demo set, size {size:g})", size=folders.demo_size()) if is_demo else ""
tell(
    "Data: `{folder}`{size}, fingerprint `{fingerprint}`.",
    folder=root, size=size, fingerprint=record.fingerprint,
)  # fmt: skip


# %% [markdown]
# The fingerprint is a short name for the content of the folder, the same wherever it lies. It is stored with every
# result, so that a checkpoint trained on other data is not taken by mistake.

# %% [markdown]
# ### The sub-folders
#
# Step 0 asks for a list of the sub-folders. This is it, in two lines:

# %% tags=["solution"]
for folder in sorted(path for path in os.listdir(root) if (root / path).is_dir()):
    print(folder, sorted(os.listdir(root / folder)))

# %% [markdown]
# The genre set (20 genres) and the multitask set (valence, energy, danceability) each come twice: full, with a
# [frame](../docs/glossary.md#frame) every 23 ms, and [beat-synchronous](../docs/glossary.md#beat-synchronous), with a
# frame per beat. The multitask test clips have **no labels**: they are what step 11 predicts.


# %% tags=["solution"]
def overview(name, split):
    """One row about a split of a folder: clips, labels, kinds of file, frames per clip."""
    tracks = folders.read_clips(root / name, split)
    paths = [Path(path) for path in tracks["path"]]
    with ThreadPoolExecutor() as pool:  # reads the files' headers only
        frames = np.array(list(pool.map(read_n_frames, paths)))
    kinds = Counter(".npy.gz" if path.name.endswith(".gz") else ".npy" for path in paths)
    if "genre" in tracks:
        labels = f"{tracks['genre'].nunique()} genres"
    else:
        axes = tracks[list(folders.AXES)].notna().any()
        labels = f"{axes.sum()} axes" if axes.any() else "none"
    return {
        "folder": name, "split": split, "clips": len(tracks), "labels": labels,
        "files": ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
        "MiB": round(sum(path.stat().st_size for path in paths) / 2**20, 1),
        "shortest T": frames.min(), "median T": int(np.median(frames)), "longest T": frames.max(),
        "all frames": frames.sum(),
    }  # fmt: skip


# %% tags=["solution", "report"]
# A row per split of each folder.
present = [name for name in folders.FOLDERS if (root / name).is_dir()]
by_folder = pd.DataFrame([overview(name, split) for name in present for split in folders.SPLITS])
record.save_table("folders", by_folder)
show_table(
    by_folder.set_index(["folder", "split"]).drop(columns="all frames"),
    digits=1,
    caption="The data folders; T is the number of time steps.",
)

# %%
# What cannot be done without a folder.
WITHOUT = {
    folders.GENRE_BEAT: "the beat-synchronous parts of steps 2 to 6 cannot be done",
    folders.MULTITASK: "steps 8 to 11 cannot be done",
    folders.MULTITASK_BEAT: "older uploads lack it; step 8 then takes the best full LSTM",
}
absent = [name for name in folders.FOLDERS if name not in present]
for name in absent:
    print(f"{name} is missing: {WITHOUT[name]}")
tell(
    "{found} of {all} folders are there. Nothing is missing." if not absent else
    "{found} of {all} folders are there. If you did not expect this, unpack the data again, or see "
    "`data_links.md` for where to get them.",
    found=len(present), all=len(folders.FOLDERS),
)  # fmt: skip

# %% [markdown]
# ### Does it fit?
#
# `np.load` keeps the type of the file: float64 in the lab's upload, 8 bytes for each value; float16 in the demo set.
# The course's Dataset holds all clips in memory at once. The kit packs them as float16, 2 bytes each, on the disk,
# and reads only the clips of the current batch.
#
# **Predict.** 3,834 genre clips of 140 x 1,292 values, and 1,497 multitask clips: how much memory as float64?
#
# <details><summary>What to expect, and why</summary>
#
# (3,834 + 1,497) x 140 x 1,292 x 8 bytes = 7.7 GB, or 7.2 GiB, for the full clips alone; a quarter of that as
# float16. (The demo set is less than a fifth of it.)
#
# </details>

# %% tags=["told"]
# Every frame has 140 values, of 8 bytes in float64 and 2 in float16.
values = int(by_folder["all frames"].sum()) * N_ROWS
free = shutil.disk_usage(cache_dir()).free
tell(
    "All clips hold {millions:.1f} million values: {in_memory} as float64, {packed} as float16. "
    "This machine has {memory} of memory in all, and {free} of free disk{verdict}",
    millions=values / 1e6, in_memory=size_text(8 * values), packed=size_text(2 * values),
    memory=machine["memory in all"], free=size_text(free),
    verdict=Sentence(
        ": it fits." if free > 3 * values else ". **Tight: free some, or set MUSICLAB_HOME.**"
    ),
)  # fmt: skip

# %% [markdown]
# ### Label files and their quirks
#
# The names in the label files are not the names on disk, and each file errs in its own way. A loader that takes them
# literally finds nothing. The rule that always works: **a [clip](../docs/glossary.md#clip)'s id is what stands before
# the first dot.**

# %% tags=["told"]
# The first line of each label file, and the name of that clip's file.
examples = []
for name in present:
    for split in folders.SPLITS:
        labels = root / name / f"{split}_labels.txt"
        line = labels.read_text().splitlines()[1] if labels.is_file() else "(no label file)"
        row = {"folder": name, "split": split, "first line": line.replace("\t", "  ")}
        on_disk = Path(folders.read_clips(root / name, split)["path"].iloc[0]).name
        examples.append(row | {"on disk": on_disk})
examples = pd.DataFrame(examples).set_index(["folder", "split"])
show_table(examples)

# %% [markdown]
# ### Exercise 0.1 · the id of a clip
#
# Write the rule as a function: it takes a name from a label file or from the disk, and gives the id.


# %% tags=["exercise"]
def check_id(function):
    """Asks for the ids of names with every quirk that the lab's files have."""
    if function("1042.fused.full.npy.gz") is None:
        print("not written yet")
        return
    for name in ("1042.fused.full.npy.gz", "1042.full.fused.npy.gz", "1042.beatsync.fused.npy.gz",
                 "1042.fused.full.npy", "1042"):  # fmt: skip
        got = function(name)
        assert got == "1042", f"{name} is clip '1042' (a text), your answer is {got!r}"
    print("right: all names of a clip have the same id")


def my_id(name):
    """The id of a clip from any of its names."""
    ...


check_id(my_id)


# %% tags=["solution", "folded"]
def id_of(name):
    """The id of a clip from any of its names: what stands before the first dot."""
    return name.split(".")[0]


check_id(id_of)

# %% [markdown]
# ### One array of each folder
#
# ```text
# array [140, T]   rows   0 ... 127   mel bands, low to high, in dB: -80 ... 0
#                  rows 128 ... 139   chroma, C to B: 0 ... 1
#                  columns 0 ... T-1  time: a frame every 23 ms, or one per beat
# ```
#
# The upper part is the mel [spectrogram](../docs/glossary.md#spectrogram) in dB below the clip's loudest value, so
# between -80 and **0, the loudest**. Remember the 0 dB when it comes to padding (step 4).


# %% tags=["solution"]
def first_array(name):
    """Shape, type and value ranges of the first training clip of a folder."""
    path = Path(folders.read_clips(root / name, "train")["path"].iloc[0])
    read_array(path)  # names a broken file
    with open_array(path) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    mel, chroma = array[: features.N_MELS], array[features.N_MELS :]
    return {
        "folder": name, "shape": f"{array.shape[0]} x {array.shape[1]}", "type": str(array.dtype),
        "mel lowest": float(mel.min()), "mel highest": abs(float(mel.max())),
        "chroma lowest": float(chroma.min()), "chroma highest": float(chroma.max()),
    }  # fmt: skip


first_arrays = pd.DataFrame([first_array(name) for name in present]).set_index("folder")
show_table(first_arrays.rename_axis(None), digits=2)

# %% tags=["told"]
# Decibels below the loudest value, strengths between 0 and 1?
as_expected = (
    (first_arrays["mel lowest"] >= -80.1) & (first_arrays["mel highest"] <= 0.1)
    & (first_arrays["chroma lowest"] >= -0.01) & (first_arrays["chroma highest"] <= 1.01)
)  # fmt: skip
odd = first_arrays.index[~as_expected].tolist()
median_T = by_folder.groupby("folder")["median T"].median()
full_T, beat_T = (median_T.get(name, np.nan) for name in (folders.GENRE, folders.GENRE_BEAT))
ranges = Sentence(
    "**Unexpected values in {folders}.**" if odd else "All values are in these ranges.", folders=odd
)
tell(
    "{ranges} A full clip of the genre set has about {n:.0f} frames, one every {milliseconds:.0f} "
    "ms: {seconds:.1f} seconds." if np.isnan(beat_T) else
    "{ranges} A full clip of the genre set has about {n:.0f} frames, one every {milliseconds:.0f} "
    "ms: {seconds:.1f} seconds. A beat-synchronous one has about {beats:.0f} columns.",
    ranges=ranges, n=full_T, seconds=full_T * features.HOP_LENGTH / features.SAMPLE_RATE,
    milliseconds=1000 * features.HOP_LENGTH / features.SAMPLE_RATE, beats=beat_T,
)  # fmt: skip

# %% [markdown]
# ### Exercise 0.2 · read a clip yourself
#
# Read a stored clip and give its two parts, mel and chroma. Some files are packed (`.npy.gz`); `gzip.open` opens
# these like `open` does the others.


# %% tags=["exercise"]
def check_parts(function):
    """Compares with the kit's `read_array` on the first training clip of each folder."""
    paths = [folders.read_clips(root / name, "train")["path"].iloc[0] for name in present]
    if function(paths[0]) is None:
        print("not written yet")
        return
    for path in paths:
        agree(Path(path).parts[-3], lambda path=path: np.vstack(function(path)), read_array(path))


def my_parts(path):
    """Mel [128, T] and chroma [12, T] of a stored clip, `.npy` or `.npy.gz`."""
    ...


check_parts(my_parts)


# %% tags=["solution", "folded"]
def parts(path):
    """Mel [128, T] and chroma [12, T] of a stored clip, `.npy` or `.npy.gz`."""
    opened = gzip.open(path) if str(path).endswith(".gz") else open(path, "rb")
    with opened as file:
        array = np.load(file)
    return array[:128], array[128:]


check_parts(parts)

# %% [markdown]
# | what the kit's `read_array` adds | why | what it gains |
# |---|---|---|
# | looks into the file, not at its name, for gzip | tools unpack or rename files on the way | it reads both |
# | refuses pickled objects | loading one may run any program | safety |
# | checks shape, type, NaN | a broken download is met here, not in the third epoch | one line that names the file |
#
# It stands in `helpers/machinery/arrays.py`.

# %% [markdown]
# ## Change this and run again
#
# Write another data folder, or `"demo"`, into the parameter cell and run the notebook again; the fingerprint changes
# with it. Then look for a clip by its id, in any of the folders:

# %%
# An id, in all folders that have it.
wanted_id = folders.read_clips(root / folders.GENRE, "test")["id"].iloc[-1]  # or one of yours
for path in sorted(path for f in folders.FOLDERS for path in root.glob(f"{f}/*/{wanted_id}.*")):
    print(f"{path.relative_to(root)}: {read_n_frames(path)} frames")

# %% [markdown]
# ## What we learned
#
# - The machine, the packages and the data are what the other notebooks expect, or you know what is missing.
# - Label names and file names differ; ids agree.
# - Full and beat-synchronous folders hold the same clips in two resolutions of time.
# - The same machine and seed repeat to the last byte; another machine is like another seed.
#
# **Check yourself**
#
# <details><summary>Why do the beat-synchronous clips differ so much in length, and the full ones hardly?</summary>
# Full clips are cut to the same 30 seconds, and have a frame every 23 ms. The number of beats in 30 seconds depends
# on the tempo of the piece.
# </details>
#
# <details><summary>Why does the multitask test folder have no label file?</summary>
# It belongs to the Kaggle competition, whose score is computed from labels that are kept back. To measure yourself
# you hold out part of the training clips (step 8ε).
# </details>
#
# <details><summary>When does it pay to switch the GPU on?</summary>
# When the computation is long and fits it: training a CNN or an LSTM on all full clips. Reading, drawing and
# debugging on a few batches take no time on a CPU, and do not use up your hours.
# </details>
#
# <details><summary>Your team mate runs the same code with the same seed and gets another accuracy. Is one of you wrong?</summary>
# Not necessarily. On another machine sums are made in another order; the trainings drift apart like two seeds.
# Compare over several seeds, and with intervals. If your <em>own</em> second run differs, look for something that is not
# seeded.
# </details>
#
# <details><summary>Two students of a team are in different programmes of studies. What now?</summary>
# They cannot be a team: both must be undergraduates or both postgraduates.
# </details>

# %% tags=["stored"]
# What a later reader needs to know about this machine and its data.
record.save_values(
    fingerprint=record.fingerprint, device=str(compute), versions=versions["version"].to_dict()
)
n_clips = by_folder.groupby("folder")["clips"].sum()
genre_clips, affect_clips = (n_clips.get(n, 0) for n in (folders.GENRE, folders.MULTITASK))
kind = "demo set" if is_demo else "data"
record.finish(
    key_metric=f"{kind}: {genre_clips} genre and {affect_clips} affect clips, "
    f"{len(present)} of {len(folders.FOLDERS)} folders"
)
