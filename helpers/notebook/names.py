"""One name for each model, wherever a reader meets it; results and files have the short one."""

from __future__ import annotations

from helpers.folders import AXES

NAMES = {
    "cnn_mel_best": "CNN (train)",
    "cnn_mel_refit": "CNN (train + validation)",
    "ast_mel_best": "AST (train)",
    "svm_mel_full": "SVM, full",
    "svm_mel_beat": "SVM, beats",
    "svm_mel_refit": "SVM, full (train + validation)",
    "svm_hand_full": "hand-made SVM, full",
    "svm_hand_beat": "hand-made SVM, beats",
    "svm_hand_refit": "hand-made SVM, full (train + validation)",
    "cnn_and_hand": "CNN and hand-made SVM, averaged",
    "majority_full": "majority class",
    "majority_beat": "majority class, beats",
} | {
    f"lstm_{feature}_{form}": f"LSTM {shown}, {of_clips}"
    for feature, shown in {"mel": "mel", "chroma": "chroma", "fused": "mel + chroma"}.items()
    for form, of_clips in {"full": "full", "beat": "beats"}.items()
}
# Candidates of notebook 11.
NAMES |= {
    "LSTMs (step 8)": "LSTMs (one per axis)",
    "CNNs (step 8)": "CNNs (one per axis)",
    "multitask CNN (step 10)": "multitask CNN",
}
NAMES |= {
    f"CNNs, {axis} from genre (step 9)": f"transfer CNN for {axis}, CNNs for the others"
    for axis in AXES
}


def name_of(model: str) -> str:
    """What a model is called for readers: `lstm_mel_full` is "LSTM mel, full"."""
    return NAMES.get(model, model)
