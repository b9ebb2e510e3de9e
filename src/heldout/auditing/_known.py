"""Genes that are known to identify the sex, the donor or the construction of a sample."""

from __future__ import annotations

FEMALE = frozenset({"XIST", "TSIX"})

MALE = frozenset(
    [
        "RPS4Y1",
        "RPS4Y2",
        "DDX3Y",
        "UTY",
        "KDM5D",
        "EIF1AY",
        "EIF2S3Y",
        "USP9Y",
        "ZFY",
        "ZFY1",
        "ZFY2",
        "TXLNGY",
        "NLGN4Y",
        "TMSB4Y",
        "PRKY",
        "LINC00278",
        "TTTY15",
    ]
)

_REPORTERS = frozenset(
    [
        "EGFP",
        "GFP",
        "ACGFP",
        "ZSGREEN",
        "TDTOMATO",
        "DTOMATO",
        "MCHERRY",
        "DSRED",
        "RFP",
        "YFP",
        "EYFP",
        "VENUS",
        "CFP",
        "ECFP",
        "BFP",
        "TAGBFP",
        "MTAGBFP2",
        "MNEONGREEN",
        "MSCARLET",
        "CRE",
        "ICRE",
        "CREERT2",
        "CAS9",
        "SPCAS9",
        "DCAS9",
        "DCAS9-KRAB",
        "DCAS9-VP64",
        "RTTA",
        "RTTA3",
        "TTA",
        "TETR",
        "NEOR",
        "PUROR",
        "BLASTR",
        "HYGR",
        "NEO",
        "PURO",
        "BSD",
        "WPRE",
        "LUCIFERASE",
        "LUC2",
        "FLUC",
        "NLUC",
        "LACZ",
        "SV40",
    ]
)

_POLYMORPHIC = frozenset(["HLA-DRB3", "HLA-DRB4", "HLA-DRB5", "GSTM1", "GSTT1", "GSTT2B", "UGT2B17", "ERAP2", "CHI3L2"])

_MARKS = str.maketrans({"_": "-", " ": "-"})


def kind(name: str) -> str | None:
    """What a known gene reveals, e.g. ``the sex``. None for other genes. Human or mouse names in any case."""
    plain = name.upper().translate(_MARKS)
    if plain in FEMALE or plain in MALE:
        return "the sex"
    if plain in _POLYMORPHIC:
        return "the genome of the donor"
    parts = {plain, plain.removesuffix("-TRANSGENE"), plain.removesuffix("-REPORTER"), plain.removeprefix("TG-")}
    return "a reporter or transgene" if parts & _REPORTERS else None
