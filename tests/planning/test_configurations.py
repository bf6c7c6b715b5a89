"""Which replicas are legal, and how many there are."""

from __future__ import annotations

from loadlab.catalog.specs import Quantisation, gpus, models
from loadlab.planning.configurations import Lattice, configurations, splits, usual_quantisations

DENSE, EXPERTS = models()["llama-3.3-70b-instruct"], models()["moe-1.5t-a90b"]  # 64 heads, 8 KV heads, 80 layers; 256 experts


def test_a_dense_model_has_neither_data_nor_expert_parallel_ranks() -> None:
    found = set(splits(DENSE, 8, 64))
    assert {(dp, ep) for _, _, dp, ep in found} == {(1, 1)}
    assert {(tp, pp) for tp, pp, _, _ in found} == {(tp, pp) for tp in (1, 2, 4, 8) for pp in (1, 2, 4, 8)}


def test_a_group_stays_in_its_node_and_within_the_gpus_there_are() -> None:
    assert max(tp for tp, *_ in splits(DENSE, 4, 64)) == 4  # nodes of four
    assert all(tp * pp <= 8 for tp, pp, *_ in splits(DENSE, 8, 8))


def test_heads_that_do_not_split_are_left_out() -> None:
    model = models()["qwen2.5-14b-instruct"]  # 40 heads, 8 KV heads
    assert {tp for tp, *_ in splits(model, 8, 64)} == {1, 2, 4, 8}
    odd = models()["qwen2.5-7b-instruct"]  # 28 heads, 4 KV heads: 8 does not divide 28
    assert {tp for tp, *_ in splits(odd, 8, 64)} == {1, 2, 4}


def test_experts_are_split_or_dealt_out_whole_over_a_stage() -> None:
    found = set(splits(EXPERTS, 8, 32))
    assert {(8, 1, 2, 1), (8, 1, 2, 16), (8, 2, 1, 8)} <= found
    assert all(ep in (1, tp * dp) and 256 % ep == 0 for tp, _, dp, ep in found)


def test_a_format_is_tried_where_the_gpu_has_kernels_for_it() -> None:
    assert usual_quantisations(DENSE, gpus()["T4"]) == (Quantisation.FP16, Quantisation.INT8, Quantisation.INT4)  # no BF16, no FP8
    assert usual_quantisations(DENSE, gpus()["H100"]) == (Quantisation.BF16, Quantisation.FP8, Quantisation.INT4)
    assert usual_quantisations(EXPERTS, gpus()["H200"]) == (Quantisation.FP8_BLOCK, Quantisation.INT4)  # published in 8 bits


def test_every_configuration_has_a_name_of_its_own_and_a_step_decodes_all_that_runs() -> None:
    lattice = Lattice(gpus=("T4", "L40S", "H100", "H200"), max_gpus=64, max_running=(64, 4096))
    found = configurations(lattice, DENSE, gpus())
    assert len({one.name for one in found}) == len(found)
    assert {(one.max_running, one.max_batched_tokens) for one in found} == {(64, 2048), (64, 8192), (4096, 8192)}
    assert found == configurations(lattice, DENSE, gpus())
