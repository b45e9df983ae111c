"""One name for each model, wherever a reader meets it; results and files have the short one."""

from __future__ import annotations

FEATURES = {"mel": "mel", "chroma": "chroma", "fused": "mel + chroma"}
FORMS = {"full": "full", "beat": "beats"}
NAMES = {
    "cnn_mel_best": "CNN (train)",
    "cnn_mel_refit": "CNN (train + validation)",
    "svm_mel_full": "SVM, full",
    "svm_mel_beat": "SVM, beats",
    "svm_mel_refit": "SVM, full (train + validation)",
    "majority_full": "majority class",
    "majority_beat": "majority class, beats",
} | {
    f"lstm_{feature}_{form}": f"LSTM {shown}, {of_clips}"
    for feature, shown in FEATURES.items()
    for form, of_clips in FORMS.items()
}


def name_of(model: str) -> str:
    """What a model is called for readers: `lstm_mel_full` is "LSTM mel, full"."""
    return NAMES.get(model, model)
