"""Strings of every production of the grammar, small enough for a few hundred rows of any dimension."""

EXACT = ("Flat", "IDMap,Flat", "IDMap2,Flat", "Flat,IDMap", "(Flat)")
CODES = (
    "SQ8",
    "SQ6",
    "SQ4",
    "SQfp16",
    "SQbf16",
    "SQ8_direct",
    "LVQ8",
    "LVQ8x0",
    "LVQ4",
    "LVQ4x4",
    "LVQ4x8",
    "LVQ8x8",
)
STAGES = ("RVQ4x4", "RQ3x4_1x4", "RQ2x4fs", "RVQ4x4_Nfloat", "RQ4x4_Nqint8", "RQ2x4_Nnone")
PRODUCTS = ("PQ1", "PQ1x4", "PQ1x4fs", "PQ1x4fsr_64", "PQ1x8np")
LISTS = (
    *("IVF4,Flat", "IVF4,SQ8", "IVF4,SQ4", "IVF4,SQfp16", "IVF4,LVQ8", "IVF4,LVQ4x4", "IVF4,RVQ4x4"),
    *("IVF4,PQ1x4", "IVF4,PQ1x4fs", "IVF4_HNSW4,Flat", "IVF4(Flat),Flat", "IVF4(HNSW4),LVQ8"),
    *("LoRANN4", "IVF4,LoRANN", "IVF4,LoRANN8x4"),
)
GRAPHS = (
    *("HNSW4", "HNSW4,Flat", "HNSW4_SQ8", "HNSW4,LVQ4x8", "HNSW4,SQfp16"),
    *("SymQG32", "SymQG32,LVQ8", "QuIVer8", "QuIVer8,LVQ8"),
)
TRANSFORMS = (
    *("PCA1,Flat", "PCAR1,SQ8", "PCAW1,Flat", "PCAWR1,Flat", "OPQ1,PQ1x4", "OPQ1_1,Flat", "RR,QuIVer8"),
    *("RR3,Flat", "HR,LVQ4", "HR7,Flat", "L2norm,Flat", "L2Norm,HNSW4", "Pad160,SQ8", "RR,L2norm,IVF4,Flat"),
)
REFINED = (
    *("SQ4,RFlat", "IVF4,LVQ4x4,RFlat", "RVQ4x4,Refine(SQfp16)", "PCA1,SQ8,RFlat", "QuIVer8,RFlat"),
    *("IDMap2,SymQG32", "IDMap,HNSW4,SQ8,RFlat", "OPQ1_1,IVF4_HNSW4,RVQ4x4,Refine(SQfp16)"),
    *("IVF4,PQ1x4fs,RFlat,IDMap",),
)
ALL = EXACT + CODES + STAGES + PRODUCTS + LISTS + GRAPHS + TRANSFORMS + REFINED

# What the grammar does not have.
WRONG = (
    *("", "flat", " Flat", "Flat ", "IVF16,", "IVF16", "IVF0,Flat", "IVF99999999999,Flat", "IVF4096M,Flat"),
    *(
        "Flat,",
        ",Flat",
        "PCA",
        "PCA8",
        "PCA8,",
        "SQ9",
        "LVQ5",
        "LVQ8x3",
        "PQ",
        "PQ0",
        "PQ8x3",
        "RQ8",
        "RVQ0x8",
    ),
    *(
        "RQ2x4_2x8",
        "RQ8x8_Nlsq2x4",
        "HNSW32,PQ8",
        "SymQG33",
        "QuIVer32,PQ8",
        "LoRANN",
        "LoRANN0",
        "(Flat",
        "Flat)",
    ),
    *(
        "IDMap",
        "IDMap,IDMap",
        "RFlat",
        "Refine(Flat)",
        "Flat,Refine(",
        "Flat,Refine()",
        "IVF4(,Flat",
        "IVF4(),Flat",
    ),
    *(
        "NSG32",
        "IMI2x8,Flat",
        "RaBitQ",
        "LSH",
        "SVSFlat",
        "ITQ8,LSH",
        "Residual2x8",
        "IVF4,Flat,Flat",
        "RR0,Flat",
    ),
    *("(" * 20 + "Flat" + ")" * 20,),
)
