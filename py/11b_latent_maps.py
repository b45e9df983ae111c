# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11b · Maps of what the networks have learned
#
# **What you will learn**
# - to take a network's latent vectors, and to keep them as a data set of their own
# - what PCA, t-SNE and UMAP do to hundreds of dimensions, and what their parameters change
# - how far classes separate, as numbers with intervals beside the pictures, and in which ways a map lies
#
# **Needs** the checkpoints of notebooks 05 and 07 (and of 07b, where it has run). **Leaves** the latent vectors of the genre test clips
# with their labels, every map's coordinates, and the scores of both.
#
# **Takes** less than a minute on the demo set with two CPU cores. With the lab's data: four times as many clips; t-SNE takes most of it.
#
# **The one insight:** a map of vectors is a picture of distances that cannot all be right. First believe a number, then the picture.
#
# **How to read:** the core path takes about 35 minutes. Answer each **Predict** before you open it; extras and solutions are folded.
#
# This is step 11 of the handout since 2024-25, in place of the Kaggle submission: its 11α to 11δ are 11bα to 11bδ here.

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

# %% tags=["setup"]
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifierCV
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch.utils.data import Subset

# %% tags=["setup"]
# The kit's own modules.
from helpers import datasets, evaluation, folders, models, plots, training
from helpers.machinery.files import LabError, write_atomically
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook import explorers
from helpers.notebook.checking import agree
from helpers.notebook.names import name_of
from helpers.notebook.records import open_record
from helpers.notebook.showing import Sentence, comparison_sentence, show_table, tell, tell_list

notebook = "11b_latent_maps"
plots.use_style()

# %% tags=["parameters", "setup"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
batch_size = 32  # clips per step of prediction
perplexities = [5, 15, 45]  # of t-SNE: how many neighbours a clip minds; for UMAP, too
n_map_seeds = 3  # maps of each kind, from seed 0 on

# %% tags=["setup"]
apply_profile(globals())

# %% tags=["setup"]
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}")

# %% [markdown]
# ## 11bα · Latent vectors
#
# > **Handout (from 2024-25 on, 11α).** *Για το καλύτερο LSTM, το CNN και τον AST: το διάνυσμα πριν από το επίπεδο εξόδου, για κάθε κλιπ του συνόλου
# > δοκιμής των ειδών, μαζί με την ετικέτα του, ως νέο σύνολο δεδομένων.* For the best LSTM, the CNN and the AST: the vector before the output layer of every
# > clip of the genre test set, with its label, as a new data set.
#
# Every network of this lab has two parts. The *backbone* turns a clip of any length into one row of numbers, and the *head*, a single linear layer, turns that row
# into a score per class. The row between them is the clip's [latent vector](../docs/glossary.md#latent-vector): all that the network knows of the clip when it answers.
#
# ```text
# clip [T, F] --backbone--> latent vector [D] --head: W v + b--> logits [C] --softmax--> probabilities [C]
#                                  |
#                                  +--> what we take here, for every test clip: [n, D]
# ```
#
# | the model | what it is | why |
# |---|---|---|
# | the best LSTM | lowest validation loss of step 5, mean over the seeds; the first of its trainings | the handout |
# | the CNN of step 7 | the one of the training part, fitted on the same clips as the LSTMs; the first training | the handout |
# | the AST of step 7.2 | where notebook 07b has stored one | the handout |
# | the worst LSTM | highest validation loss of step 5 | 11bγ |
# | CNN, untrained | the same CNN with random weights | what the *architecture* alone gives |
# | mel statistics | mean and deviation of each scaled mel band over time, no network | what the *picture* alone gives |
#
# The last two are controls, which the handout does not ask for. Without them one cannot say what training has added.

# %% tags=["solution"]
# Which models: chosen on validation, never on test.
validation = record.load_table("05_lstm", "validation").set_index("model")
best = validation["loss"].idxmin()
worst = validation["loss"].idxmax()
sources = {best: "05_lstm", "cnn_mel_best": "07_cnn"}
try:
    record.find("07b_ast", "checkpoints/ast_mel_best.safetensors")
    sources["ast_mel_best"] = "07b_ast"
except LabError:
    tell(
        "No AST is stored for these data, so there is no map of its vectors: run notebook 07b "
        "first, then this one again."
    )
sources[worst] = "05_lstm"
of_lstm, of_worst, of_cnn = map(name_of, (best, worst, "cnn_mel_best"))
tell("Best LSTM by validation loss: {best}; worst: {worst}.", best=of_lstm, worst=of_worst)


# %% tags=["solution"]
def test_loader(checkpoint, folder):
    """The genre test clips as a model was trained to read them, and their loader."""
    clips = datasets.SpectrogramDataset(root / folder, "test", checkpoint.feature)
    clips.scaler = checkpoint.scaler
    return clips, datasets.make_loader(clips, batch_size, device=compute)


@torch.no_grad()
def latent_vectors(model, loader):
    """The backbone's output for every clip of a loader, in its order: [n, D]."""
    model.to(compute).eval()  # no dropout, and batch norm with what it has learned
    return torch.cat([model.backbone(x, lengths).cpu() for x, _, lengths in loader]).numpy()


# %% [markdown]
# **Predict.** Are these vectors really "the vector before the output layer"? How can it be tested without reading the class?
#
# <details><summary>What to expect, and why</summary>
# Put them through the head by hand, W v + b. The result has to be the logits that the whole model gives for the same clips.
# </details>

# %% tags=["solution"]
checkpoint = record.load_checkpoint("07_cnn", "cnn_mel_best", head="classifier", feature="mel")
test, loader = test_loader(checkpoint, folders.GENRE)
own = latent_vectors(checkpoint.model, loader)
weights, bias = (part.detach().cpu().numpy() for part in checkpoint.model.head.parameters())
whole = training.predict(checkpoint.model, loader, compute)
agree("W v + b and the model's logits", lambda: own @ weights.T + bias, whole, tolerance=1e-3)
kit = training.predict(checkpoint.model.backbone, loader, compute)  # with checks, on any device
agree("latent vectors", lambda: own, kit)

# %% tags=["solution"]
# Of every model; rows in the order of the CNN's test clips, whatever the folder's own order is.
found = {}
for name, source in sources.items():
    model = record.load_checkpoint(source, name, head="classifier", classes=test.classes)
    folder = validation["folder"].get(name, folders.GENRE)
    clips, loader = test_loader(model, folder)
    values = training.predict(model.model.backbone, loader, compute)
    found[name_of(name)] = pd.DataFrame(values, index=clips.ids)

seed_everything(seed)
untrained = models.build_model(checkpoint.spec).backbone
_, loader = test_loader(checkpoint, folders.GENRE)
found["CNN, untrained"] = pd.DataFrame(training.predict(untrained, loader, compute), index=test.ids)
statistics = [np.concatenate([f.mean(0), f.std(0)]) for f in map(test.frames, range(len(test)))]
found["mel statistics"] = pd.DataFrame(statistics, index=test.ids)

# %% [markdown]
# **A data set of their own.** Vectors as numbers in one safetensors file, an array `[n, D]` per space; ids and labels as a table. Whoever wants to go on from here
# needs neither the networks nor the music.

# %% tags=["solution", "report"]
# Clips that both test folders hold.
shared = set.intersection(*(set(table.index) for table in found.values()))
places = [number for number, clip in enumerate(test.ids) if clip in shared]
labels = test.tracks.iloc[places][["id", "genre", "label"]].rename(columns={"label": "class"})
spaces = {  # row after row in memory, as a file holds it; pandas keeps columns together
    name: np.ascontiguousarray(table.loc[labels["id"]], dtype=np.float32)
    for name, table in found.items()
}
write_atomically(record.folder / "latent_vectors.safetensors", save(spaces))
record.save_table("latent_labels", labels)

sizes = pd.DataFrame({
    "numbers per clip": {name: values.shape[1] for name, values in spaces.items()},
    "clips": {name: len(values) for name, values in spaces.items()},
})  # fmt: skip
show_table(sizes, caption="The spaces: latent vectors of the genre test clips, and two controls.")

# %%
# Read again, it is the same: a table of numbers, and one of labels.
again = load_file(record.folder / "latent_vectors.safetensors")
agree("the stored CNN vectors", lambda: again[name_of("cnn_mel_best")], own[places])
show_table(labels.head(3).set_index("id"))

# %% tags=["told", "report"]
# A clip that is alone in its class has no neighbour to find.
counts = labels["class"].value_counts()
lonely = sorted(counts.index[counts == 1])
if lonely:
    tell(
        "Left out of maps and numbers, because they have one test clip only: {classes}.",
        classes=lonely,
    )
if (counts > 1).sum() < 2:
    raise LabError(
        f"{root / folders.GENRE}: {(counts > 1).sum()} class(es) with two test clips or more, and "
        "a map of classes needs two; add test clips, or leave this notebook out (--only)"
    )

# %% tags=["setup"]
# From here on: the clips whose class has another one, every dimension scaled alike.
several = labels["class"].isin(counts.index[counts > 1]).to_numpy()
rows = [place for place, kept in zip(places, several, strict=True) if kept]
genre_class = labels.loc[several, "class"].to_numpy()
classes = sorted(set(genre_class))
number = np.array([classes.index(name) for name in genre_class])  # class numbers [n]
spaces = {name: StandardScaler().fit_transform(v[several]) for name, v in spaces.items()}
n = len(number)
fitting = [p for p in perplexities if p < n]
if len(fitting) < len(perplexities):
    tell(
        "Perplexities of {n} and more are left out: a clip cannot have as many neighbours as there "
        "are clips, and there are {n}.", n=n,
    )  # fmt: skip
fitting = fitting or [max(1, (n - 1) // 3)]
middle = fitting[len(fitting) // 2]

# %% [markdown]
# ## 11bβ · PCA: the two widest directions
#
# > **Handout (11β).** *Μειώστε τις διαστάσεις με PCA και σχεδιάστε. Πόσο καλά διαχωρίζονται οι κλάσεις; Συγκρίνετε τους χώρους των μοντέλων.* Reduce the
# > dimensions with PCA and draw the result. How well do the classes separate? Compare the models' spaces.
#
# [Principal component analysis](../docs/glossary.md#pca) turns the cloud of points until its widest direction lies along the first axis, the widest of what is left along the
# second, and so on. The two first axes are drawn. With the centred points as rows of $X$ and $X = U S V^\top$:
#
# $$ \text{map} = X\, V_{:,\,1:2} \qquad \text{explained variance of axis } k = \frac{s_k^2}{\sum_j s_j^2} $$
#
# Before it, each dimension is scaled to mean 0 and deviation 1 over these clips, in every space alike, so that none counts more only because its numbers are larger.


# %% tags=["solution"]
def plain_pca(points):
    """The two widest directions [n, 2], and each one's share of the variance [2]."""
    centred = points - points.mean(axis=0)
    _, s, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:2].T, s[:2] ** 2 / (s**2).sum()


kit = PCA(2, svd_solver="full").fit(spaces[of_cnn])
agree("explained variance", lambda: plain_pca(spaces[of_cnn])[1], kit.explained_variance_ratio_)
signless = np.abs(kit.transform(spaces[of_cnn]))  # which end of an axis is up, nobody says
agree("PCA map", lambda: np.abs(plain_pca(spaces[of_cnn])[0]), signless, tolerance=1e-2)

# %% [markdown]
# **Predict.** Two directions of many are drawn. How much of the variance do they hold, and can classes that overlap in the picture be apart all the same?
#
# <details><summary>What to expect, and why</summary>
# It takes nine directions to keep ten classes equally far apart, so where a network does that, two hold a part of the variance only. Where they hold nearly
# all, it has learned little beside one or two scales. Classes that overlap in two dimensions may lie one behind the other, like two mountains seen from the valley. Only a number taken in the whole space can tell.
# </details>

# %% tags=["solution", "report"]
# Each space in its own two widest directions.
pca, explained = {}, {}
for name, points in spaces.items():
    pca[name], shares = plain_pca(points)
    explained[name] = shares.sum()
trained = [name for name in spaces if name not in (of_worst, "CNN, untrained", "mel statistics")]
panels = {f"{name}: {explained[name]:.0%} of variance": pca[name]
          for name in spaces if name != of_worst}  # fmt: skip
low, *_, high = sorted(explained[name] for name in trained)
title = f"Two directions hold {low:.0%} to {high:.0%} of the variance of the networks' vectors"
drawn = plots.scatter_maps(panels, genre_class, title)
record.show(drawn, "pca", caption="PCA of the latent vectors of the genre test clips.")

# %% [markdown]
# ### Numbers beside the picture
#
# Four numbers, each an average over the clips. The first two can be taken in the whole space *and* in the map:
#
# - **[Silhouette](../docs/glossary.md#silhouette)** of a clip: $(b - a) / \max(a, b)$, with $a$ its mean distance to its own class and $b$ to the nearest other class. 1: the
#   classes are tight and apart; 0: they touch; below 0: the clip lies nearer to another class.
# - **Nearest-neighbour accuracy**: in how many clips is the *nearest other clip* of the same class? No shape is assumed, so a class in two islands counts as separated.
# - **Linear accuracy**: a linear classifier is fitted on four fifths of these clips and asked for the other fifth, in turn. It is what the head asks of the space: is there a plane between
#   the classes?
# - **[Trustworthiness](../docs/glossary.md#trustworthiness)** of a map: are the $k$ neighbours $U_k(i)$ that it shows near in the space, too? A stranger is punished by its rank $r(i, j)$ in the
#   space:
#
# $$ T = 1 - \frac{2}{n k (2n - 3k - 1)} \sum_{i} \sum_{j \in U_k(i)} \max\left(0,\; r(i, j) - k\right) $$


# %% tags=["solution"]
def distances(points):
    """Between all pairs [n, n]; infinite to itself, so that nobody is its own neighbour."""
    between = cdist(points, points)
    np.fill_diagonal(between, np.inf)
    return between


def nearest_answers(points):
    """The class of each clip's nearest other clip, [n]."""
    return number[distances(points).argmin(axis=1)]


def silhouettes(points, groups):
    """(b - a) / max(a, b) of each clip, [n]: a to its own group, b to the nearest other one."""
    between = cdist(points, points)
    same = groups[:, None] == groups
    a = (between * same).sum(1) / (same.sum(1) - 1)  # without itself
    to_each = [np.where(groups == g, np.inf, between[:, groups == g].mean(1)) for g in set(groups)]
    b = np.min(to_each, axis=0)
    return (b - a) / np.maximum(a, b)


# %% tags=["solution"]
n_folds = max(2, min(5, np.bincount(number).min()))
folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)


def linear_answers(points):
    """Each clip's class by a linear classifier that was fitted on other clips, [n]."""
    ridge = RidgeClassifierCV(alphas=np.logspace(0, 4, 9))  # the penalty is chosen on these, too
    return cross_val_predict(ridge, points, number, cv=folds)


# %% tags=["solution"]
k_near = min(5, (n - 1) // 2)  # neighbours that a map is asked for


def trust(points, drawn, k=k_near):
    """Each clip's part of a map's trustworthiness, [n]; their mean is the formula above."""
    rank = 1 + distances(points).argsort(1).argsort(1)  # 1 is the nearest
    near = distances(drawn).argsort(1)[:, :k]
    excess = np.maximum(np.take_along_axis(rank, near, axis=1) - k, 0).sum(1)
    return 1 - 2 * excess / (k * (2 * len(points) - 3 * k - 1))


points, drawn = spaces[of_cnn], pca[of_cnn]
agree("silhouettes", lambda: silhouettes(points, number), silhouette_samples(points, number), 1e-4)
near = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(return_distance=False)[:, 0]
agree("nearest neighbours", lambda: nearest_answers(points), number[near])
kit = trustworthiness(points, drawn, n_neighbors=k_near)
agree("trustworthiness", lambda: trust(points, drawn).mean(), kit)

# %% [markdown]
# Each is a mean over clips, so it gets the interval of notebook 06: draw the clips again, a thousand times. (The neighbours that they are asked about, and what the linear classifier was fitted on, stay as they are.)


# %% tags=["solution", "report"]
picks = np.random.default_rng(seed).integers(n, size=(1000, n))
chance = sum(c * (c - 1) for c in np.bincount(number)) / (n * (n - 1))


def mean_score(values):
    """The mean of a number per clip [n], with its 95 % interval."""
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return evaluation.Score(float(values.mean()), float(low), float(high))


def separation(points):
    """How far the classes separate in a space or a map."""
    right = nearest_answers(points) == number
    own = mean_score(silhouettes(points, number))
    return {"silhouette": own, "nearest neighbour": mean_score(right)}


# %% tags=["solution", "report"]
# The same numbers for whole spaces and for their maps.
in_space = pd.DataFrame({name: separation(points) for name, points in spaces.items()}).T
in_map = pd.DataFrame({name: separation(points) for name, points in pca.items()}).T
in_space["nearest neighbour, PCA map"] = in_map["nearest neighbour"]
linear = {name: linear_answers(points) for name, points in spaces.items()}
in_space["linear"] = {name: mean_score(answers == number) for name, answers in linear.items()}
of_maps = {name: mean_score(trust(points, pca[name])) for name, points in spaces.items()}
in_space["trustworthiness of the map"] = of_maps
caption = "How far the classes separate, in each space and in its PCA map, with 95 % intervals."
show_table(in_space, 2, caption=caption)

# %% tags=["solution", "report"]
# By both ways of asking: the nearest clip, and a plane between the classes.
ways = ("nearest neighbour", "linear")
leads = {way: evaluation.highest(in_space[way].to_dict()) for way in ways}
shown = {f"{way.split()[0]}: {name}": in_space.loc[name, way] for way in ways for name in spaces}
title = f"Highest linear accuracy: {leads['linear']}"
xlabel = f"accuracy (of nearest neighbours by chance: {chance:.2f})"
drawn = plots.score_plot(shown, title, xlabel)
caption = "Nearest-neighbour and linear accuracy in each whole space, with 95 % intervals."
record.show(drawn, "separation", caption=caption)
for name in spaces:
    scores = {f"{way} accuracy": in_space.loc[name, way] for way in ways}
    record.add_scores(name, "latent", "genre test", scores, n)


# %% [markdown]
# ### What training has added
#
# The comparisons, named beforehand: the networks against each other, which the handout asks for; and what training has added, each network against the mel statistics, and the CNN against
# itself untrained. All on the same clips (a paired difference, as in notebook 06), with Holm's correction.


# %% tags=["solution", "appendix", "told"]
def compared(pairs, answers):
    """Paired differences in accuracy between spaces, or maps, from their answers by name."""
    sides = {pair: [answers[name] for name in pair] for pair in pairs}
    compare = evaluation.compare_accuracy
    return evaluation.holm({pair: compare(number, *two, seed) for pair, two in sides.items()})


nearest = {name: nearest_answers(points) for name, points in spaces.items()}
pairs = [(name, "mel statistics") for name in trained] + [(of_cnn, "CNN, untrained")]
pairs += [(one, other) for i, one in enumerate(trained) for other in trained[i + 1 :]]
by_way = {"nearest-neighbour accuracy": compared(pairs, nearest),
          "linear accuracy": compared(pairs, linear)}  # fmt: skip
for what, results in by_way.items():
    tell_list(comparison_sentence(result, *pair, what) for pair, result in results.items())

# %% tags=["report", "told"]
def clearly_above(results):
    """The pairs that differ clearly, the higher one first."""
    clear = {pair: c.difference.value for pair, c in results.items() if c.clear}
    pairs = [pair if gain > 0 else pair[::-1] for pair, gain in clear.items()]
    return [Sentence("{first} than {second}", first=one, second=other) for one, other in pairs]


tell_list(
    Sentence("**Verdict**, clearly higher {what}: {above:; }.",
             what=what, above=clearly_above(results)) for what, results in by_way.items()
)  # fmt: skip
added = {what: results[of_cnn, "CNN, untrained"] for what, results in by_way.items()}
told = [
    Sentence("{gain} in {what} ({clear})", gain=result.difference, what=what,
             clear=Sentence("clear" if result.clear else "it may be chance"))
    for what, result in added.items()
]  # fmt: skip
tell("**Verdict**, what training has added to the CNN: {told:; }.", told=told)
tell(
    "**Verdict**, how far the classes separate: in the whole space of {first} the nearest clip is "
    "of the same class for {score} of the clips, in its PCA map for {flat}; by chance it would be "
    "for {chance:.2f}.",
    first=leads[ways[0]], score=in_space.loc[leads[ways[0]], ways[0]], chance=chance,
    flat=in_space.loc[leads[ways[0]], "nearest neighbour, PCA map"],
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **How to read it.** A network is trained so that *one linear layer* can tell the classes apart: it need not put the clips of a class side by side. So its silhouettes may stay small, and the linear
# accuracy is where to look first for what training has added. What the untrained CNN has already is the architecture's own: random filters and a mean over time are a blurred picture of the spectrum, and neighbours in it are neighbours in sound.
# Without this control one would call all of it "learned". And where classes lie behind one another, the column of the PCA map is lower than that of the space: the picture shows *less* separation than there is. A
# picture that looks mixed is no proof that the space is.
#
# (The linear classifier is fitted on *test* clips, which no network has seen; its accuracy is not that of the networks' own heads, which were fitted on the training clips.)

# %% [markdown]
# ## 11bγ · The worst model
#
# > **Handout (11γ).** *Το ίδιο για το χειρότερο μοντέλο του βήματος 5. Υπάρχει ποιοτική διαφορά;* The same for the worst model of step 5. Is there a difference in kind?
#
# **Predict.** Its vectors have as many numbers as the best one's. What will its picture look like beside the best one: a ball, a line, or the same groups with more overlap?
#
# <details><summary>What to expect, and why</summary>
# A network that has learned little answers nearly the same for every clip: its vectors vary mostly along one direction (for example how loud or how dense a clip is). So two
# directions may hold <em>more</em> of its variance than of the best one's, and classes lie along them like a rainbow. High explained variance is no sign of a good space.
# </details>

# %% tags=["solution", "report"]
# The best and the worst LSTM side by side.
both = (of_lstm, of_worst)
panels = {f"{name}: {explained[name]:.0%} of variance": pca[name] for name in both}
agreeing = [in_space.loc[name, "nearest neighbour"].value for name in both]
title = "Nearest clip of the same class: {:.0%} (best LSTM), {:.0%} (worst)".format(*agreeing)
drawn = plots.scatter_maps(panels, genre_class, title)
record.show(drawn, "pca_worst", caption="PCA of the latent vectors of the best and the worst LSTM.")


# %% tags=["solution", "report"]
def directions_for(points, share=0.9):
    """How many directions hold this share of the variance."""
    s = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), share) + 1)


shown = ["silhouette", "nearest neighbour", "linear"]
beside = in_space.loc[[*both, "mel statistics"], shown].copy()
beside["directions for 90 %"] = [directions_for(spaces[name]) for name in beside.index]
caption = "The worst LSTM's space beside the best one's and the mel statistics."
show_table(beside, 2, caption=caption)
result = compared([both], nearest)[both]
tell(comparison_sentence(result, of_lstm, of_worst, "nearest-neighbour accuracy"))

# %% tags=["told", "report"]
# Far enough above chance, if its whole interval is.
far = in_space.loc[of_worst, "nearest neighbour"]
tell(
    "**Verdict.** By nearest neighbours the two spaces {differ}. The worst LSTM's are still above "
    "chance ({chance:.2f}): {score}. 90 % of the variance takes {many} directions in the best one, "
    "{few} in the worst one." if far.low > chance else
    "**Verdict.** By nearest neighbours the two spaces {differ}. The worst LSTM's may be chance "
    "({chance:.2f}): {score}. 90 % of the variance takes {many} directions in the best one, {few} "
    "in the worst one.",
    differ=Sentence("differ clearly" if result.clear else "cannot be told apart on these clips"),
    chance=chance, score=far, many=int(beside.iloc[0, -1]), few=int(beside.iloc[1, -1]),
)  # fmt: skip

# %% [markdown]
# ## 11bδ · t-SNE and UMAP
#
# > **Handout (11δ).** *Και άλλες μέθοδοι (t-SNE και άλλες). Ποια λειτουργεί καλύτερα σε αυτά τα δεδομένα;* Other methods, too (t-SNE and others). Which works best for these data?
#
# PCA is a projection: a shadow on a wall. [t-SNE](../docs/glossary.md#t-sne) asks something else: place the dots so that *neighbours stay neighbours*, whatever becomes of the rest. In the space, each clip $i$ gives
# the others probabilities of being its neighbour, a bell curve whose width is chosen so that about so many count as the **perplexity** says; in the map, a curve with a long tail:
#
# $$ p_{j|i} \propto e^{-\lVert x_i - x_j \rVert^2 / 2\sigma_i^2} \qquad q_{ij} \propto \frac{1}{1 + \lVert y_i - y_j \rVert^2} \qquad
# \text{minimise } \sum_{ij} p_{ij} \log \frac{p_{ij}}{q_{ij}} $$
#
# The sum is dear where $p$ is large and $q$ small: neighbours that are torn apart. It hardly minds strangers that are brought together. There is no formula for the minimum; it is found step by
# step from random places, so each **seed** gives another map. [UMAP](../docs/glossary.md#umap) minimises a similar sum over a graph of nearest neighbours; its number of neighbours takes the place of the perplexity.
#
# The CNN's space is drawn, named here beforehand: three perplexities and three seeds.
#
# **Predict.** What will a perplexity of 5 do to a class of 15 clips, and what will 45 do? Will the three seeds agree on which class lies beside which?
#
# <details><summary>What to expect, and why</summary>
# With 5, each clip minds five others: many small clumps, classes fall to pieces. With 45 (on the demo set a third of all clips) the map resembles PCA: one cloud. Neighbours are much the same for
# each seed; which side is up is drawn anew, and so may be which class comes to lie nearest to which other one.
# </details>


# %% tags=["solution"]
def tsne(points, perplexity, map_seed):
    """A t-SNE map [n, 2] from random places; PCA's, the usual start, would hide what seeds do."""
    kit = TSNE(perplexity=perplexity, init="random", random_state=map_seed)
    return kit.fit_transform(points)


tsne_maps = {(p, s): tsne(spaces[of_cnn], p, s) for p in fitting for s in range(n_map_seeds)}
panels = {f"perplexity {p}, seed {s}": drawn for (p, s), drawn in tsne_maps.items()}

# %% tags=["solution", "report"]
# The same clips nine times: which of it is the clips', which the parameters'?
right = {key: (nearest_answers(drawn) == number).mean() for key, drawn in tsne_maps.items()}
low, high = min(right.values()), max(right.values())
title = f"{of_cnn}, t-SNE: nearest clip of the same class for {low:.0%} to {high:.0%} of the clips"
drawn = plots.scatter_maps(panels, genre_class, title, n_columns=n_map_seeds)
caption = "t-SNE of the CNN's vectors: a row for each perplexity, a column for each seed."
record.show(drawn, "tsne", caption=caption)

# %% [markdown]
# UMAP comes in a package of its own, `umap-learn`, which the kit does not need otherwise: `pip install umap-learn`, or `pip install -e ".[maps]"`. Where it is missing, what is
# said below is about PCA and t-SNE. (The first map takes it ten seconds and more, because it is compiled; the next ones come at once.)

# %% tags=["solution"]
try:
    from umap import UMAP
except ImportError:
    UMAP = None
    tell("UMAP is left out: the package umap-learn is not installed.")


def umap(points, neighbours, map_seed):
    """A UMAP map [n, 2]; from random places, as above."""
    kit = UMAP(n_neighbors=max(2, neighbours), init="random", random_state=map_seed, n_jobs=1)
    return kit.fit_transform(points)


asked = tsne_maps if UMAP else ()
umap_maps = {(p, s): umap(spaces[of_cnn], p, s) for p, s in asked}

# %% tags=["solution", "appendix"]
if UMAP:
    panels = {f"{p} neighbours, seed {s}": drawn for (p, s), drawn in umap_maps.items()}
    drawn = plots.scatter_maps(panels, genre_class, f"{of_cnn}, UMAP", n_columns=n_map_seeds)
    caption = "UMAP of the CNN's vectors: a row for each number of neighbours, a column per seed."
    record.show(drawn, "umap", caption=caption)


# %% tags=["solution", "report"]
# Numbers of a setting: each clip's, as the mean over the seeds.
def of_setting(maps):
    """Separation and trustworthiness of some maps of the CNN's space together."""
    right = [nearest_answers(drawn) == number for drawn in maps]
    return {
        "silhouette": mean_score(np.mean([silhouettes(drawn, number) for drawn in maps], axis=0)),
        "nearest neighbour": mean_score(np.mean(right, axis=0)),
        "trustworthiness": mean_score(np.mean([trust(spaces[of_cnn], d) for d in maps], axis=0)),
    }


# %% tags=["solution", "report"]
# Each setting is the mean over its seeds.
settings = {"PCA": [pca[of_cnn]]}
for name, maps in {"t-SNE": tsne_maps, "UMAP": umap_maps}.items():
    for p in fitting if maps else ():
        settings[f"{name}, {p}"] = [maps[p, s] for s in range(n_map_seeds)]
by_setting = pd.DataFrame({name: of_setting(maps) for name, maps in settings.items()}).T
caption = "Maps of the CNN's space by perplexity, means over the seeds, with 95 % intervals."
show_table(by_setting, 2, caption=caption)

# %% [markdown]
# Compare with the whole space, 11bβ. A map can show *more* agreement than the space has: t-SNE pulls neighbours together, and among hundreds of dimensions the nearest of two nearly
# equal distances is a matter of luck. It can do so for right and for wrong neighbours; that is what the trustworthiness is for.
#
# ### How maps lie
#
# A map is read by eye, and the eye reads distance, size and grouping. t-SNE and UMAP promise none of the three. Here each is put to the test on this run's maps, and the seed, too.
#
# #### 1. The distance between two classes
#
# Take the centre of each class, and all distances between centres: in the space, and in the map. If the map kept them, or only their *order*, their rank correlation would be 1.
#
# #### 2. The size of a class
#
# How far are a class's clips from its centre, on average? PCA shows the spread along two directions only. t-SNE gives each clip's curve its own width $\sigma_i$, so that a dense and a loose group come out more alike;
# and a class that lies in two places is drawn as wide as these happen to fall apart. So a class that is drawn twice as wide need not be twice as wide.


# %% tags=["solution"]
def centres(points):
    """The mean of each class, [C, D]."""
    return np.stack([points[number == c].mean(axis=0) for c in range(len(classes))])


def class_gaps(points):
    """Distances between the centres of all pairs of classes."""
    between = cdist(centres(points), centres(points))
    return between[np.triu_indices(len(classes), 1)]


def class_sizes(points):
    """The mean distance of a class's clips to its centre, [C]."""
    away = np.linalg.norm(points - centres(points)[number], axis=1)
    return np.array([away[number == c].mean() for c in range(len(classes))])


# %% tags=["solution"]
def kept(points, drawn):
    """What a map keeps of distances between classes and of their sizes."""
    sizes = class_sizes(drawn)
    return {
        "class distances (rank correlation)": in_order(class_gaps(points), class_gaps(drawn)),
        "class sizes (rank correlation)": in_order(class_sizes(points), sizes),
        "widest class / tightest": sizes.max() / sizes.min(),
    }


def in_order(x, y):
    """Spearman's, undefined for fewer than three values."""
    return spearmanr(x, y).statistic if len(x) > 2 else np.nan


# %% tags=["solution", "report"]
# Against the whole space: which distances and sizes survive the drawing.
points = spaces[of_cnn]
seen = {"whole space": points, "PCA": pca[of_cnn]}
seen |= {f"t-SNE, seed {s}": drawn for (p, s), drawn in tsne_maps.items() if p == middle}
seen |= {f"UMAP, seed {s}": drawn for (p, s), drawn in umap_maps.items() if p == middle}
lies = pd.DataFrame({name: kept(points, drawn) for name, drawn in seen.items()}).T
caption = "What each map of the CNN's space keeps of the classes' distances and sizes."
show_table(lies, 2, caption=caption)

# %% [markdown]
# #### 3. The seed
#
# ### Exercise 11b.1 · Shared neighbours
#
# Two maps of the same clips: of a clip's $k$ nearest neighbours in the first one, what share is among its $k$ nearest in the second one? Write the mean over all clips. (`distances` of 11bβ gives an
# array with infinity on its diagonal.)


# %% tags=["exercise"]
def my_shared_neighbours(first, second, k):
    """The mean share of each clip's k nearest in the first map that are so in the second one."""
    ...


def check_shared_neighbours(function):
    """Asks for maps whose answer is known."""
    line = np.array([[0.0, 0], [1, 0], [2.1, 0], [3.3, 0], [10, 0]])
    if function(line, line, 2) is None:
        print("my_shared_neighbours is not written yet")
        return
    assert function(line, line, 2) == 1, "a map shares all neighbours with itself"
    assert function(line, -3 * line, 2) == 1, "turned and stretched it is the same map"
    swapped = line[[4, 1, 2, 3, 0]]  # the lonely one and the first one change places
    got = function(line, swapped, 2)
    assert abs(got - 0.7) < 1e-9, f"of 5 dots' 2 neighbours each, 7 in 10 stay, you say {got}"
    print("right: turning changes nothing, two dots that change places lose three in ten")


check_shared_neighbours(my_shared_neighbours)


# %% tags=["solution", "folded"]
def my_shared_neighbours(first, second, k):
    """The mean share of each clip's k nearest in the first map that are so in the second one."""
    near, others = (distances(points).argsort(axis=1)[:, :k] for points in (first, second))
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(near, others, strict=True)])


check_shared_neighbours(my_shared_neighbours)


# %% tags=["solution", "report"]
# Which class lies nearest to the largest one, in the space and in each seed's map?
def beside_largest(points):
    """The class whose centre is nearest to that of the largest class."""
    largest = np.bincount(number).argmax()
    return classes[distances(centres(points))[largest].argmin()]


by_seed = [tsne_maps[middle, s] for s in range(n_map_seeds)]
same = [my_shared_neighbours(by_seed[0], other, k_near) for other in by_seed[1:]]
tell(
    "Beside {largest}, the largest class, lies {truly} in the whole space, and in the t-SNE maps "
    "of the seeds: {drawn}. Of a clip's {k} nearest neighbours in the first map {shared:.0f} % are "
    "among its nearest in the others.",
    largest=classes[np.bincount(number).argmax()], truly=beside_largest(points), k=k_near,
    drawn=[beside_largest(drawn) for drawn in by_seed], shared=100 * np.mean(same or [1.0]),
)  # fmt: skip

# %% [markdown]
# #### 4. Groups that are not there
#
# As many points as there are clips, in as many dimensions, but pure noise: there is *nothing* to find. k-means is asked for as many groups as there are classes, and gets its groups in the map.
#
# **Predict.** Will the maps of noise look like noise?
#
# <details><summary>What to expect, and why</summary>
# Not quite: t-SNE keeps each point's few nearest together, nearest by chance as they are, so that clumps and gaps appear, the more the smaller the perplexity. And k-means cuts *any* cloud in two dimensions into
# compact pieces. A silhouette taken in the map calls them groups; the same groups in the space itself have a silhouette near 0. That is why a number from the map proves nothing about the space.
# </details>

# %% tags=["solution", "report"]
noise = np.random.default_rng(seed).standard_normal(points.shape)
of_noise = {p: tsne(noise, p, 0) for p in fitting}
k_means = KMeans(len(classes), n_init=10, random_state=seed)
groups = {p: k_means.fit_predict(drawn) for p, drawn in of_noise.items()}
in_both = {p: [round(silhouette_samples(place, groups[p]).mean(), 2) + 0.0  # no -0.00
               for place in (drawn, noise)] for p, drawn in of_noise.items()}  # fmt: skip
panels = {f"noise, perplexity {p}": drawn for p, drawn in of_noise.items()}
names = [f"group {g + 1:2}" for g in groups[fitting[0]]]
title = f"Silhouette of the first map's groups: {in_both[fitting[0]][0]:.2f}"
title += f", in the noise itself {in_both[fitting[0]][1]:.2f}"
drawn = plots.scatter_maps(panels, names, title, n_columns=3)
caption = "t-SNE of pure noise; colours are the groups that k-means finds in the first map."
record.show(drawn, "noise", caption=caption)

# %% tags=["told", "report"]
# In noise there are no groups; what the maps show of them is made by the maps.
told = [
    Sentence(
        "perplexity {p}: silhouette {drawn:.2f} in the map, {truly:.2f} in the noise itself",
        p=p, drawn=in_map, truly=in_noise,
    )
    for p, (in_map, in_noise) in in_both.items()
]  # fmt: skip
tell("Groups that k-means finds in maps of noise: {told:; }.", told=told)
gap, _, size = lies.columns
of_tsne = lies[lies.index.str.startswith("t-SNE")]
tell(
    "**Verdict**, how these maps lie: the rank correlation of class distances with those of the "
    "space is {gap_pca:.2f} in the PCA map, and {gap_low:.2f} to {gap_high:.2f} in t-SNE's, by "
    "seed; the widest class is {size_space:.1f} times as wide as the tightest in the space, "
    "{size_pca:.1f} times in the PCA map, {size_low:.1f} to {size_high:.1f} times in t-SNE's maps.",
    gap_pca=lies.loc["PCA", gap], gap_low=of_tsne[gap].min(), gap_high=of_tsne[gap].max(),
    size_space=lies.loc["whole space", size], size_pca=lies.loc["PCA", size],
    size_low=of_tsne[size].min(), size_high=of_tsne[size].max(),
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **What may be read off a map, then?** Who is whose neighbour, as far as the trustworthiness says so; and that a class which falls apart in *every* seed and perplexity is worth a look. Not: how far two groups are from each
# other, how dense a group is, which axis is which. And never that there are groups at all, unless a number from the *space* says so.
#
# ### Which method works best?
#
# Every space but the untrained CNN's, with each method: t-SNE (and UMAP) with the middle perplexity and the first seed. A best picture is not chosen; that
# would be choosing the luckiest.

# %% tags=["solution"]
# Each of these spaces by every method, with the same settings.
methods = {"PCA": lambda space: pca[space], "t-SNE": lambda space: tsne(spaces[space], middle, 0)}
if UMAP:
    methods["UMAP"] = lambda space: umap(spaces[space], middle, 0)
chosen = [*trained, of_worst, "mel statistics"]
all_maps = {(space, how): draw(space) for space in chosen for how, draw in methods.items()}
ids = labels.loc[several, "id"].to_numpy()
coordinates = [
    pd.DataFrame({"space": space, "method": how, "id": ids, "x": drawn[:, 0], "y": drawn[:, 1]})
    for (space, how), drawn in all_maps.items()
]
record.save_table("maps", pd.concat(coordinates))

# %% tags=["solution", "report"]
panels = {f"{space}, {how}": drawn for (space, how), drawn in all_maps.items()}
best_map = max(panels, key=lambda key: np.mean(nearest_answers(panels[key]) == number))
title = f"Most neighbours of the same class in the map: {best_map}"
drawn = plots.scatter_maps(panels, genre_class, title, n_columns=len(methods))
record.show(drawn, "methods", caption="Each space, a row, with each method, a column.")

# %% tags=["solution", "report"]
# Beside each map, what its whole space reaches.
by_map = pd.DataFrame({
    f"{space}, {how}": separation(drawn) | {
        "nearest neighbour, whole space": in_space.loc[space, "nearest neighbour"],
        "trustworthiness": mean_score(trust(spaces[space], drawn)),
    }
    for (space, how), drawn in all_maps.items()
}).T  # fmt: skip
caption = "The spaces, without the untrained CNN's, by every method, with 95 % intervals."
show_table(by_map, 2, caption=caption)

# %% tags=["told", "report"]
# Methods against PCA, on each of these spaces.
others = [how for how in methods if how != "PCA"]
pairs = [(f"{space}, {how}", f"{space}, PCA") for space in chosen for how in others]
results = compared(pairs, {name: nearest_answers(drawn) for name, drawn in panels.items()})
clear = [pair[0] for pair in pairs if results[pair].clear and results[pair].difference.value > 0]
trusted = {how: [by_map.loc[f"{space}, {how}", "trustworthiness"].value for space in chosen]
           for how in methods}  # fmt: skip
told = [Sentence("{how} {value:.3f}", how=how, value=np.mean(all_of))
        for how, all_of in trusted.items()]  # fmt: skip
tell(
    "**Verdict.** In nearest-neighbour accuracy these maps are clearly above the PCA map of the "
    "same space: {clear}. The mean trustworthiness over the spaces: {trusted:; }.",
    clear=clear, trusted=told,
)  # fmt: skip

# %% [markdown] tags=["solution"]
# **Which one works best for these data?** For *seeing neighbours*, the one with the highest trustworthiness and neighbours of the same class; for *seeing the shape of the space* (which classes are far apart or wide, along which
# direction), PCA, the one linear map of the three. How well it keeps the order, the table under *How maps lie* says; it need not keep proportions: its distances can be too short, never too long. It needs
# no seed and no parameter, so it comes first, and with it the explained variance as a warning of what it leaves out. And no method repairs a space: compare the worst LSTM's maps with its numbers in 11bγ.

# %% [markdown]
# ### Try it: point at a dot
#
# Each dot is a test clip. Point at one: its picture, and lines to the four clips that are nearest to it *in the whole space*. Click it to hear ten seconds. Where a clip has kept no sound, the browser plays the picture itself, a few
# sines for each band: rough, but rhythm, bass and brightness are there.
#
# *Try* a dot at the border of two classes, and one that lies far from its class. *Look for* lines that cross the whole map: neighbours that the map has torn apart. Do they share a genre, an instrument, a tempo? Then take another map of the
# same space, and see which of it stays.

# %%
explorers.maps(record, Subset(test, rows), spaces, all_maps)

# %% [markdown]
# ## Change this and run again
#
# Another space, perplexity or seed; or scale differently: what becomes of the map when the dimensions keep their own deviations?

# %%
my_space, my_perplexity, my_seed = of_lstm, middle, 1
my_map = tsne(spaces[my_space], my_perplexity, my_seed)
agreeing = separation(my_map)["nearest neighbour"]
print(f"{my_space}, perplexity {my_perplexity}, seed {my_seed}: nearest neighbour {agreeing}, "
      f"trustworthiness {trust(spaces[my_space], my_map).mean():.3f}")  # fmt: skip

# %% [markdown]
# ## What we learned
#
# - A latent vector is the input of the last layer. Stored with its label, it is a data set on which everything of this lab can be done again in seconds.
# - PCA is a shadow: what overlaps in it may be apart. t-SNE and UMAP keep neighbours, and promise nothing about distances, sizes, or whether a group is more than chance.
# - Numbers are taken in the space, with intervals; controls say what training has added; the map illustrates them.
#
# **Check yourself**
#
# <details><summary>Two groups lie far apart in a t-SNE map. Are they unlike?</summary>
# That cannot be said. Distances between groups depend on seed and perplexity; ask the distances in the space.
# </details>
#
# <details><summary>The nearest-neighbour accuracy of a map is higher than that of its space. Has the map learned something?</summary>
# No label was used. It smooths: near the border of distances that are all nearly equal, pulling groups of neighbours together makes more of the single nearest ones agree.
# </details>
#
# <details><summary>A network has a silhouette near 0 and a good accuracy. How can that be?</summary>
# Its head draws one plane for each class. Long, thin classes beside each other are told apart by planes, and have large distances inside: a small silhouette.
# </details>
#
# <details><summary>Why are test clips drawn, and not training clips?</summary>
# The network has seen the training clips with their labels: their vectors are apart because they were pushed apart, one by one. That says nothing of new clips.
# </details>
#
# <details><summary>May the best of nine maps go into the report?</summary>
# Only with the words "the best of nine". Else it is the same mistake as choosing a model on test: the luckiest is shown.
# </details>

# %% tags=["stored"]
record.save_values(spaces=list(spaces), perplexities=fitting, best_lstm=best, worst_lstm=worst)
record.save_table("separation", in_space.map(str).reset_index(names="space"))
accuracy = in_space.loc[of_cnn, "nearest neighbour"]
told = f"nearest clip of the same class: {of_cnn} {accuracy.value:.2f} (chance {chance:.2f})"
record.finish(key_metric=told)
