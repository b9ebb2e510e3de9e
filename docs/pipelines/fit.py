import sys

import anndata as ad
import scanpy as sc

import heldout as ho

adata = ad.read_h5ad(sys.argv[1])
sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
ho.tl.genotype(adata, "genotype", method="pseudobulk_logistic")
adata.write_h5ad(sys.argv[2])
