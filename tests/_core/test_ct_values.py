"""Values that look like Ct values of qPCR are recognised, dense and sparse."""

import logging

import numpy as np
import pytest
from scipy import sparse

from heldout._core.ct_values import warn_if_ct


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_array])
def test_many_values_at_the_maximum_are_told(form, caplog):
    expression = np.maximum(np.random.default_rng(0).normal(2, 3, size=(50, 20)), 0)
    with caplog.at_level(logging.WARNING, logger="heldout"):
        assert not warn_if_ct(form(expression)), "zeros are at the minimum"
        assert caplog.text == ""
        assert warn_if_ct(form(25 - expression))
    share = round(100 * (expression == 0).mean())
    assert f"{share} % of the values are exactly the maximum, 25" in caplog.text
    assert "adata.X = 25 - adata.X" in caplog.text


@pytest.mark.parametrize("values", [np.zeros((3, 4)), np.full((3, 4), 7.0), np.arange(400.0).reshape(20, 20)])
def test_constant_and_distinct_values_are_no_ct_values(values):
    assert not warn_if_ct(values)
    assert not warn_if_ct(sparse.csr_matrix(values))
