"""What the report cites: papers, and the links of the handouts from data_links.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.common.notebooks import ROOT

LINKS = ROOT / "data_links.md"
PAPERS = (
    "J. Yosinski, J. Clune, Y. Bengio, H. Lipson: How transferable are features in deep neural "
    "networks? *NIPS* 2014. <https://arxiv.org/abs/1411.1792>",
    "Ł. Kaiser, A. N. Gomez, N. Shazeer, A. Vaswani, N. Parmar, L. Jones, J. Uszkoreit: One model "
    "to learn them all. 2017. <https://arxiv.org/abs/1706.05137>",
    "S. Hochreiter, J. Schmidhuber: Long short-term memory. *Neural Computation* 9(8), 1997. "
    "<https://doi.org/10.1162/neco.1997.9.8.1735>",
    "S. Ioffe, C. Szegedy: Batch normalization: accelerating deep network training by reducing "
    "internal covariate shift. *ICML* 2015. <https://arxiv.org/abs/1502.03167>",
    "S. Davis, P. Mermelstein: Comparison of parametric representations for monosyllabic word "
    "recognition in continuously spoken sentences. *IEEE Transactions on Acoustics, Speech, and "
    "Signal Processing* 28(4), 1980. <https://doi.org/10.1109/TASSP.1980.1163420>",
    "H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz: mixup: beyond empirical risk minimization. "
    "*ICLR* 2018. <https://arxiv.org/abs/1710.09412>",
    "S. Holm: A simple sequentially rejective multiple test procedure. *Scandinavian Journal of "
    "Statistics* 6(2), 1979. <https://www.jstor.org/stable/4615733>",
    "M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson: FMA: a dataset for music analysis. "
    "*ISMIR* 2017. <https://arxiv.org/abs/1612.01840>",
    "B. McFee et al.: librosa: audio and music signal analysis in Python. *SciPy* 2015. "
    "<https://doi.org/10.25080/Majora-7b98e3ed-003>",
    "A. Paszke et al.: PyTorch: an imperative style, high-performance deep learning library. "
    "*NeurIPS* 2019. <https://arxiv.org/abs/1912.01703>",
    "F. Pedregosa et al.: Scikit-learn: machine learning in Python. *JMLR* 12, 2011. "
    "<https://jmlr.org/papers/v12/pedregosa11a.html>",
)
_BEGIN = "## Links of the handouts"
_LINK = re.compile(r"\[([^\]]+)\](?:\((https?://[^)]+)\)|\[([^\]]+)\])")
_ADDRESS = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)


def handout_links(path: Path = LINKS) -> Iterator[tuple[str, str]]:
    """Title and address of each link of the handouts, in their order."""
    text = path.read_text(encoding="utf-8")
    addresses = dict(_ADDRESS.findall(text))
    rows = [line for line in text.partition(_BEGIN)[2].splitlines() if line.startswith("| [")]
    for row in rows:
        # The first cell holds the links, the second one says what they are.
        links = _LINK.findall(row.split(" | ")[0])
        for number, (title, address, name) in enumerate(links):
            whole = f"{links[0][0]}, {title}" if number else title
            yield whole, address or addresses[name]
