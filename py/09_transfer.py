# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · Transfer learning: from genre to affect
#
# **What you will learn**
# - what transfers between tasks, and how to check that weights really were taken over
# - how to train a new head on a frozen backbone, and then everything with small steps
# - how to tell whether the transfer helped: same clips, same axis, paired
#
# **Needs** the results of notebooks 05, 07 and 08. **Leaves** a checkpoint and predictions for one axis, for notebook 11.
#
# **Takes** about a minute on the demo set with two CPU cores. With the lab's data: four times as many clips; the `full` profile trains longer.
#
# **The one insight:** weights that were not loaded fail silently; count the tensors before you praise the transfer.

# %% [markdown]
# ## Set-up

# %%
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

# %%
# What you edit in helpers/ takes effect without a restart.
# %load_ext autoreload
# %autoreload 2
import pandas as pd
import torch
from sklearn.metrics import f1_score

from helpers import baselines, datasets, evaluation, folders, models, plots, training
from helpers.machinery.process import pick_device, seed_everything
from helpers.machinery.profiles import apply_profile
from helpers.notebook.records import HELD_OUT, of_seed, open_record
from helpers.notebook.showing import Sentence, show_table, tell, tell_comparisons

notebook = "09_transfer"
plots.use_style()

# %% tags=["parameters"]
data = "auto"  # data folder, "demo", or "auto": $MUSICLAB_DATA, Kaggle, ./data, the demo set
device = "auto"  # "cpu", "cuda" or "auto"
seed = 0
axis = "energy"  # the axis to fine-tune on: valence, energy or danceability
batch_size = 32  # clips per step
head_epochs = 3  # passes in which the new head learns alone
epochs = 10  # passes in which all weights learn, at most
patience = 5  # epochs without a better validation loss before training stops
head_learning_rate = 0.003  # of Adam at its highest, for the head alone
learning_rate = 0.0005  # of Adam at its highest, for all weights: small, to keep what was learned
crop_frames = 256  # training windows, in frames; predictions use whole clips
max_masked_bands = 8  # SpecAugment hides up to so many mel bands in training
n_seeds = 1  # fine-tunings, each from another seed; the first one is shown and used later

# %%
apply_profile(globals())

# %%
seed_everything(seed)
compute = pick_device(device)
root = folders.find_data(data)
record = open_record(notebook, root, seed)
print(f"data: {folders.data_name(root)}   device: {compute}   seed: {seed}   axis: {axis}")

# %% [markdown] tags=["solution"]
# ## 9α · Yosinski et al. 2014, in two sentences
#
# The first layers of a deep network learn features that serve almost any task, while later layers become more and more
# specific to the task they were trained on; copying layers therefore helps less the further apart two tasks are, and
# freezing the copies can also hurt because it tears apart neighbouring layers that had adapted to each other. Nevertheless
# even features from a distant task can be better than random ones, and starting from copied weights can make a network
# generalise better, even after all of it was fine-tuned on the target task.
#
# (J. Yosinski, J. Clune, Y. Bengio, H. Lipson: *How transferable are features in deep neural networks?*, NIPS 2014.)

# %% [markdown] tags=["solution"]
# ## 9β · Which model, and why
#
# The **CNN on mel spectrograms** of step 7:
# - The paper is about stacks of convolutions, from general to specific, on photographs. That the first ones of ours find
#   onsets and partials as those find edges is an analogy. Our LSTM (one layer by default) has no such stack.
# - Genre and affect are told from spectrograms of the same kind, with the same 128 bands; drums, brightness and density may
#   serve both, which 9ε tests.
# - In the lab's data about twice as many clips have a genre (after 4β) as have affect labels: what the few labels cannot
#   teach may come from there. (Where it is not so, expect less of transfer; the numbers of these data follow below.)
# - Step 8 has the same CNN with fresh weights on the same clips. Besides the weights, the scaling, the two stages, the learning
#   rates, the warm-up, the number of epochs and the patience differ.

# %% tags=["report"]
# What the genre validation part said of the networks of steps 5 and 7.
genre = record.load_checkpoint("07_cnn", "cnn_mel_best", head="classifier", feature="mel")
genre_splits = datasets.genre_splits(root / folders.GENRE, "mel", seed)
true = datasets.labels_of(genre_splits.val).numpy()
val_genre_loader = datasets.make_loader(genre_splits.val, batch_size, device=compute)
logits = training.predict(genre.model, val_genre_loader, compute)
cnn_f1 = f1_score(true, logits.argmax(1), average="macro")
lstms = record.load_table("05_lstm", "validation")
n_affect = (record.load_table("08_regression", "affect_split")["part"] == "train").sum()
guess = baselines.majority_predictions(datasets.labels_of(genre_splits.train).numpy(), len(true))
guess_f1 = f1_score(true, guess, average="macro")
lstm_f1 = lstms["macro F1"].max()
record.save_values(genre_f1={"CNN": cnn_f1, "LSTM": lstm_f1, "majority": guess_f1})
tell(
    "Macro F1 on the genre validation part: CNN {cnn:.3f}, best LSTM of step 5 ({name}) {lstm:.3f},"
    " most frequent class {guess:.3f}. The CNN was trained on {n} clips; with affect labels there "
    "are {n_affect}.",
    cnn=cnn_f1, name=lstms.loc[lstms["macro F1"].idxmax(), "model"], lstm=lstm_f1, guess=guess_f1,
    n=len(genre_splits.train), n_affect=n_affect,
)  # fmt: skip

# %% [markdown]
# ## 9γ · Trained on `fma_genre_spectrograms`: which epoch's weights?
#
# The training was done in notebook 07 (section 7ε), on the full clips. Kept were the weights of the epoch with the **lowest
# cross-entropy on the validation part**:
# - *on validation*, because the training loss goes on falling while the network learns its clips by heart, and because the
#   test set must not choose anything;
# - *the loss*, not accuracy or F1: it changes smoothly and counts how sure each answer is, while accuracy on so few clips
#   jumps by whole clips and its highest value is often luck;
# - the checkpoint *fitted on train alone*, not the one fitted anew on train + validation, for which no part is left that
#   could say which epoch was best.

# %% tags=["report"]
# The loss that chose the epoch, computed once more.
loss = training.default_loss(genre.model)
val_loss = training.evaluate_loss(genre.model, val_genre_loader, loss, compute)
record.save_values(genre_epoch=genre.epoch, genre_val_loss=val_loss)
tell(
    "Kept: epoch {epoch} ({note}); its loss, computed anew: {loss:.3f}.",
    epoch=genre.epoch, note=genre.note, loss=val_loss,
)  # fmt: skip

# %% [markdown]
# ## 9δ · Fine-tuning: start the step-8 regressor from these weights
#
# [Transfer](../docs/glossary.md#transfer): the regressor of step 8 is built as before. Its backbone takes the genre CNN's tensors; its head stays fresh, because
# scores of genres have nothing to say about an axis. `strict=True` makes PyTorch refuse unless *every* name and shape matches.

# %% tags=["solution"]
# Clips, architecture and axis are those of step 8; weights and scaling come from the genre CNN.
parts = record.load_table("08_regression", "affect_split")
folder = root / folders.MULTITASK
splits = datasets.affect_splits(folder, genre.feature, axis, parts, scaler=genre.scaler)
step8 = record.load_checkpoint("08_regression", f"cnn_{axis}", head="regressor")
seed_everything(seed)
model = models.build_model(step8.spec)
fresh = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
model.backbone.load_state_dict(genre.model.backbone.state_dict(), strict=True)

# %%
# Count what arrived: every tensor of the backbone must now be the genre CNN's.
donor, loaded = genre.model.backbone.state_dict(), model.backbone.state_dict()
arrived = sum(torch.equal(loaded[name], donor[name].cpu()) for name in loaded)
changed = sum(not torch.equal(loaded[name], fresh[name]) for name in loaded)
print(f"{arrived} of {len(loaded)} backbone tensors are the genre CNN's; {changed} differ from "
      "those of the fresh network")  # fmt: skip

# %% [markdown]
# **The silent failure.** The whole classifier's tensors are called `backbone.blocks...`, those of the backbone
# `blocks...`: not one name matches. With `strict=True` that is an error; with `strict=False` nothing is copied and nothing is
# said. Only the returned list of missing names tells, and in the middle of a cell nobody sees it. The "transfer" is a fresh network.

# %%
# What `strict=False` does with names that do not match: nothing.
pitfall = models.build_model(step8.spec)
before = {name: tensor.clone() for name, tensor in pitfall.backbone.state_dict().items()}
answer = pitfall.backbone.load_state_dict(genre.model.state_dict(), strict=False)
after = pitfall.backbone.state_dict()
copied = sum(not torch.equal(after[name], before[name]) for name in after)
print(f"strict=False: {copied} of {len(after)} tensors copied, no error; its answer names "
      f"{len(answer.missing_keys)} missing ones (it leaves out batch norm's counters)")  # fmt: skip

# %% [markdown]
# Two more things must come along or be made anew:
# - **The scaling.** The genre CNN saw bands scaled by *its* training clips. Other statistics would feed its filters shifted
#   values, so `affect_splits` above got the checkpoint's scaler.
# - **The optimizer.** It holds references to the parameters it was built on; one made for another model trains that other
#   model. `train` makes a new one in every call, over the parameters that are not frozen, and begins a new schedule: one epoch
#   of warm-up to the learning rate, then down to a hundredth of it.
#
# First the head alone learns (`head_epochs` passes): as long as its weights are random, what they pass back to the backbone is
# noise and may spoil it. (Our head begins with tiny weights and passes back little, so it matters less here: on the benchmark's
# songs everything at once was as good, and the head alone far worse.) Freezing takes `requires_grad_(False)` *and* care with batch normalisation, whose running mean and variance move
# in training mode without any gradient; `train` keeps those of frozen layers still.
#
# | choice | made by |
# |---|---|
# | from the genre CNN of step 7, a few epochs, one axis, compared with step 8 | the handout |
# | first the head, then everything; a small learning rate | convention |
# | windows and SpecAugment, as in step 7 | this kit (its benchmark on real music: [its tables](../docs/how_good_history.md)) |

# %% tags=["solution"]
# Stage 1: only the head's weights may move.
augmentation = {"crop_frames": crop_frames, "max_masked_bands": max_masked_bands}
train_loader, val_loader, heldout_loader = datasets.make_loaders(
    splits, batch_size, seed, **augmentation, device=compute
)
model.backbone.requires_grad_(False)
head_history = training.train(
    model, train_loader, val_loader, epochs=head_epochs, learning_rate=head_learning_rate,
    device=compute, name=f"transfer, {axis}",
)  # fmt: skip

# %%
now = model.backbone.state_dict()
still = sum(torch.equal(now[name].cpu(), donor[name].cpu()) for name in now)
print(f"after the head's epochs {still} of {len(now)} backbone tensors are unchanged")
weights_after_head = {name: tensor.clone() for name, tensor in model.state_dict().items()}

# %% [markdown]
# Then everything learns, with a small learning rate. Of all epochs of both stages the one with the lowest validation loss
# is kept.

# %% tags=["solution", "report"]
# Stage 2: all weights move, in small steps.
model.backbone.requires_grad_(True)
all_history = training.train(
    model, train_loader, val_loader, epochs=epochs, learning_rate=learning_rate,
    patience=patience, device=compute, name=f"transfer, {axis}",
)  # fmt: skip
history = head_history.then(all_history)
if history.best_epoch <= len(head_history.val_loss):  # fine-tuning made nothing better
    model.load_state_dict(weights_after_head)
record.save_checkpoint(
    f"transfer_{axis}", model, step8.spec, feature=genre.feature, scaler=splits.scaler,
    axes=[axis], epoch=history.best_epoch, note="from genre; lowest validation loss",
)  # fmt: skip
record.save_values(axis=axis, kept_epoch=history.best_epoch, n_epochs=len(history.val_loss))
record.save_values(n_head_epochs=len(head_history.val_loss), lowest_val_loss=min(history.val_loss))
tell(
    "Fine-tuned for {axis}. Kept: epoch {epoch} of {n} (stage: {stage}).",
    axis=axis,
    epoch=history.best_epoch,
    n=len(history.val_loss),
    stage="head alone" if history.best_epoch <= len(head_history.val_loss) else "all weights",
)


# %% tags=["solution"]
def fine_tune_again(number):
    """The same two stages from another seed: the held-out predictions of their best epoch."""
    loaders = datasets.make_loaders(
        splits, batch_size, seed + number, **augmentation, device=compute
    )
    seed_everything(seed + number)
    other = models.build_model(step8.spec)
    other.backbone.load_state_dict(genre.model.backbone.state_dict(), strict=True)
    other.backbone.requires_grad_(False)
    options = {"patience": patience, "device": compute, "name": f"transfer {number + 1}, {axis}"}
    first = training.train(
        other, *loaders[:2], epochs=head_epochs, learning_rate=head_learning_rate, **options
    )
    kept = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    other.backbone.requires_grad_(True)
    second = training.train(
        other, *loaders[:2], epochs=epochs, learning_rate=learning_rate, **options
    )
    if min(first.val_loss) <= min(second.val_loss):
        other.load_state_dict(kept)
    return training.predict(other, loaders[2], compute)


again = [fine_tune_again(number) for number in range(1, n_seeds)]
print(f"{1 + len(again)} fine-tuning(s), seeds {seed} to {seed + len(again)}")

# %% [markdown]
# ## 9ε · Compared with step 8
#
# **How fast?** Both curves are validation losses on the same clips. The dotted line is the lowest loss of step 8's CNN; at
# "next stage" all weights of the transferred network begin to learn. (The training loss may lie above the validation loss: it is
# measured with dropout, on masked windows, while the weights still move; the other on whole clips.)

# %% tags=["report"]
# Step 8's learning curve for this axis, as it was stored there.
table = record.load_table("08_regression", "histories")
table = table[(table["model"] == "CNN") & (table["axis"] == axis)]
from_scratch = training.History.from_table(f"CNN, {axis}", table)
target = min(from_scratch.val_loss)
race = {"step 8, fresh weights": from_scratch, "from genre weights": history}
lowest = min(history.val_loss)
title = f"{axis}: lowest validation loss {lowest:.4f} from genre weights, {target:.4f} in step 8"
constant = record.load_value("08_regression", f"constant_loss_{axis}")
record.show(
    plots.validation_race(race, target, title, constant), "validation_race",
    caption="Validation loss from fresh and from genre weights.",
)  # fmt: skip

# %% tags=["report"]
# Both with the loss of the training clips.
record.show(
    plots.learning_curves(race, f"Training for {axis}"), "learning_curves",
    caption="Learning curves from fresh and from genre weights.",
)  # fmt: skip

# %% tags=["solution", "report"]
# The first epoch at or below step 8's lowest loss.
reached = [number for number, loss in enumerate(history.val_loss, 1) if loss <= target]
n_epochs, after_head = len(history.val_loss), head_history.val_loss[-1]
record.save_values(step8_val_loss=target, epoch_of_step8_loss=reached[0] if reached else None)
tell(
    "Step 8 had its lowest validation loss, {target:.4f}, in epoch {step8_epoch} of {step8_n}; the "
    "transferred network {speed} (lowest: {lowest:.4f}), which come on top of the genre training "
    "of notebook 07. After the head's own epochs its loss was {after_head:.4f}; always predicting "
    "the training mean: {constant:.4f}.",
    target=target, step8_epoch=from_scratch.best_epoch, step8_n=len(from_scratch.val_loss),
    speed=Sentence(
        "reached it in epoch {epoch} of its {n} epochs" if reached else
        "did not reach it in its {n} epochs",
        epoch=reached[0] if reached else None, n=n_epochs,
    ),
    lowest=lowest, after_head=after_head, constant=constant,
)  # fmt: skip

# %% [markdown]
# *Look at* the step between the stages. Where the head alone has hardly passed the constant, or where the loss jumps when all
# weights begin to learn, the backbone was released too early or in too large steps: try more `head_epochs`, or a smaller
# `learning_rate`.

# %% [markdown]
# **How good?** On the held-out clips, which chose nothing, beside the SVR. (A linear head may leave 0..1; Spearman sees only the
# order. The line in the scatter plots is predicted = true.)

# %%
# Three models, the same clips: the first training of each.
ids, true = datasets.ids_of(splits.test), datasets.labels_of(splits.test).numpy()
predicted = {"CNN from genre": training.predict(model, heldout_loader, compute)}
for name, stored in (("CNN of step 8", "cnn_heldout"), ("SVR", "svr_heldout")):
    predicted[name] = record.load_predictions("08_regression", stored, ids, [axis])[:, 0]
scores = {name: evaluation.spearman(true, values, seed) for name, values in predicted.items()}
own = {"Spearman": scores["CNN from genre"]}
record.add_scores("CNN from genre", "mel", f"{HELD_OUT}: {axis}", own, len(true))

# %% tags=["report"]
# The scores with their intervals.
title = f"Spearman for {axis} on {len(ids)} held-out clips"
record.show(
    plots.score_plot(scores, title, "Spearman", 0.0, "no order at all"), "spearman",
    caption="Spearman correlation on the held-out clips, with 95 % intervals.",
)  # fmt: skip
caption = Sentence(
    "Spearman correlation for {axis} on the held-out clips, with 95 % intervals.", axis=axis
)
show_table(pd.DataFrame({"Spearman": scores}), caption=caption)

# %% tags=["report"]
# Clip by clip: the nearer to the line, the better.
panels = {name: (true, values, scores[name]) for name, values in predicted.items()}
record.show(
    plots.predicted_against_true(panels, f"{axis}, held-out clips"), "heldout",
    caption="Predicted against true value, held-out clips.",
)  # fmt: skip

# %% tags=["solution", "report"]
# Paired differences; of each network the mean over its trainings, where there are several.
transferred = [predicted["CNN from genre"], *again]
step8_seeds = range(record.load_value("08_regression", "n_seeds"))
rivals = {
    "CNN of step 8": [
        record.load_predictions("08_regression", of_seed("cnn_heldout", n), ids, [axis])[:, 0]
        for n in step8_seeds
    ],
    "SVR": predicted["SVR"],
}
compared = evaluation.holm({
    ("CNN from genre", name): evaluation.compare_spearman(true, transferred, rival, seed)
    for name, rival in rivals.items()
})  # fmt: skip
caption = "Paired differences in Spearman with 95 % intervals."
record.show(plots.differences(compared, f"Spearman for {axis}"), "differences", caption=caption)
record.add_comparisons(compared, f"Spearman for {axis} on held-out clips")
tell_comparisons(compared, f"Spearman for {axis} on held-out clips")

# %% tags=["solution"]
# The answer: the held-out clips decide; the validation part has also chosen the epochs.
result = compared["CNN from genre", "CNN of step 8"]
gain = result.difference.value
answer = Sentence(
    "Cannot be told: {reason}." if not result.difference.defined else
    "Not shown: Spearman differs by {gain:+.3f} on held-out clips, which may be chance."
    if not result.clear else
    "Yes: Spearman differs by {gain:+.3f}, more than chance does. Whether the weights or the rest "
    "of the recipe (9β) did it, this cannot tell." if gain > 0 else
    "No: Spearman differs by {gain:+.3f}, more than chance does. Whether the weights or the rest "
    "of the recipe (9β) did it, this cannot tell.",
    reason=result.difference.reason, gain=gain,
)  # fmt: skip
few = Sentence("; a method is judged by several seeds") if len(transferred) < 2 else ""
tell(
    "**Did transfer help here?** {answer} The first training's lowest validation loss is "
    "{lowest:.4f} against {target:.4f}, but that part has also chosen the epochs. ({own} "
    "fine-tuning(s) against {theirs} training(s) of step 8{few}.)",
    answer=answer, lowest=lowest, target=target, own=len(transferred), theirs=len(step8_seeds),
    few=few,
)  # fmt: skip

# %%
# The lab's score, with this axis replaced in the predictions of step 8. Stored for notebook 11.
axes = list(folders.AXES)
trio = record.load_predictions("08_regression", "cnn_heldout", ids, axes)
all_true = splits.base.tracks.set_index("id").loc[ids, axes].to_numpy()
replaced = trio.copy()
replaced[:, axes.index(axis)] = predicted["CNN from genre"]
means = {
    "step 8's CNNs": evaluation.mean_spearman(all_true, trio, seed),
    f"with {axis} from genre": evaluation.mean_spearman(all_true, replaced, seed),
}
name = f"CNN, {axis} from genre"
score = means[f"with {axis} from genre"]
record.add_scores(name, "mel", HELD_OUT, {"mean Spearman": score}, len(ids))
told = [Sentence("{model} {score}", model=k, score=score) for k, score in means.items()]
tell("Mean Spearman on held-out: {told}.", told=told)
record.save_predictions("transfer_heldout", ids, predicted["CNN from genre"], [axis])
validation = training.predict(model, val_loader, compute)
record.save_predictions("transfer_validation", datasets.ids_of(splits.val), validation, [axis])


# %% [markdown]
# ## Change this and run again
#
# Yosinski et al. froze the first n layers and let the rest learn. Subclass the regressor and choose n: with the genre
# weights, how many of the four blocks can stay as they are before the axis suffers?

# %%
class MyTransfer(models.Regressor):
    """A regressor whose first blocks stay as the genre CNN left them."""

    frozen_blocks = 2

    def start_from(self, backbone):
        """Take a trained backbone's weights; freeze the first blocks."""
        self.backbone.load_state_dict(backbone.state_dict(), strict=True)
        self.backbone.blocks[: self.frozen_blocks].requires_grad_(False)


seed_everything(seed)
mine = MyTransfer(models.CNNBackbone(**step8.spec["backbone_options"]))
mine.start_from(genre.model.backbone)
trial = training.train(mine, train_loader, val_loader, epochs=epochs, learning_rate=learning_rate,
                       patience=patience, device=compute, name="my transfer")  # fmt: skip
print(
    f"{mine.frozen_blocks} blocks frozen: {models.n_parameters(mine)} trained parameters, "
    f"validation loss {min(trial.val_loss):.4f}; above: {lowest:.4f}, with a stage for the head "
    "alone before. One seed, few clips: small differences are chance"
)

# %% [markdown]
# ## What we learned
#
# - Transfer is: same architecture, same scaling, every tensor accounted for, a fresh head, a new optimizer.
# - First the head, then everything with small steps; frozen means batch normalisation too.
# - Whether it helped is a paired question on held-out clips; a steeper curve alone is only a faster start.
#
# **Check yourself**
#
# <details><summary>Why does the transferred network use the genre scaler and not one of its own training clips?</summary>
# Its filters were learned on values scaled that way. With other statistics every band would be shifted and stretched, and
# the copied filters would answer to something else.
# </details>
#
# <details><summary>The frozen network's validation loss changes although only the head is trained. Is that a bug?</summary>
# No: the head is part of the network. It would be one if the backbone's output for a fixed clip changed in evaluation mode:
# then batch normalisation went on collecting statistics.
# </details>
#
# <details><summary>Step 8's CNN and the transferred one differ in more than their first weights. In what?</summary>
# In the scaler, the two-stage schedule, the learning rates, the warm-up, the number of epochs and the patience. To credit the weights alone, run this notebook's
# schedule from fresh weights: in a copy of it, leave out the lines that load the genre weights, and give the checkpoint another name.
# </details>

# %%
record.finish(key_metric=f"{axis} on held-out: from genre {scores['CNN from genre']}, "
                         f"step 8 {scores['CNN of step 8']}")  # fmt: skip
