params.cells = "cells.h5ad"
params.fit = "fit.py"

process SPLIT {
    input:
    path cells

    output:
    path "split.h5ad"

    script:
    """
    heldout split ${cells} --scheme matched --group-key library --match-key day --label-key genotype \
        --test 19 --val 0 --out split.h5ad
    """
}

process AUDIT {
    publishDir "results", pattern: "audit.json"

    input:
    path cells

    output:
    path "audited.h5ad", emit: cells
    path "audit.json", emit: findings

    script:
    """
    heldout audit ${cells} --out audited.h5ad --json > audit.json
    """
}

process FIT {
    input:
    path cells
    path fit

    output:
    path "fitted.h5ad"

    script:
    """
    python ${fit} ${cells} fitted.h5ad
    """
}

process EVALUATE {
    publishDir "results"

    input:
    path cells

    output:
    path "judged.h5ad", emit: cells
    path "evaluation.json", emit: scores

    script:
    """
    heldout evaluate ${cells} --out judged.h5ad --json > evaluation.json
    """
}

process REPORT {
    publishDir "results"

    input:
    path cells

    output:
    path "report.html"

    script:
    """
    heldout report ${cells} --out report.html
    """
}

workflow {
    SPLIT(channel.fromPath(params.cells))
    AUDIT(SPLIT.out)
    FIT(AUDIT.out.cells, file(params.fit))
    EVALUATE(FIT.out)
    REPORT(EVALUATE.out.cells)
}
