"""Campaign files: layers, variants, sensitivity, and a table of broken ones with the words that their errors must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.files import is_campaign, load_campaign, load_scenario
from loadlab.scenario.lengths import Constant
from loadlab.scenario.load import ClosedLoop
from loadlab.schema import as_table

CAMPAIGN = """
schema = "loadlab/campaign/1"
name = "study"
[defaults]
timeout_s = 60
[profiles.llm]
cluster = "../clusters/a.toml"
classes.chat = { model = "m", prompt_tokens = { kind = "constant", value = 9 }, output_tokens = { kind = "constant", value = 5 } }
load = { kind = "open_loop", requests = 10, arrivals = { kind = "poisson", rate_per_s = 1 } }
[variants.naive]
cluster_suffix = "-naive"
[experiments.E02]
name = "two"
profile = "llm"
timeout_s = 30
[experiments.E02.load.arrivals]
kind = "gamma"
rate_per_s = 2
cv = 4
[experiments.E01]
name = "one"
shows = "the floor"
profile = "llm"
classes.chat.prompt_tokens.value = 11
load.requests = 3
"""


def campaign_file(folder: Path, text: str) -> Path:
    home = folder / "study"
    home.mkdir()
    path = home / "study.toml"
    path.write_text(text)
    return path


def test_experiments_take_defaults_then_profile_then_their_own_keys_and_come_by_id(tmp_path: Path) -> None:
    one, two = load_campaign(campaign_file(tmp_path, CAMPAIGN)).experiments
    assert (one.id, one.name, one.shows, one.cluster) == ("E01", "one", "the floor", tmp_path / "clusters" / "a.toml")
    assert one.scenario.description == "the floor"
    assert (one.scenario.timeout_s, two.scenario.timeout_s) == (60, 30)
    assert one.scenario.classes["chat"].prompt_tokens == Constant(value=11)
    assert two.scenario.classes["chat"].prompt_tokens == Constant(value=9)


def test_a_table_of_another_kind_replaces_the_one_below_whole(tmp_path: Path) -> None:
    one, two = load_campaign(campaign_file(tmp_path, CAMPAIGN)).experiments
    assert as_table(one.scenario.load) == {"kind": "open_loop", "requests": 3, "arrivals": {"kind": "poisson", "rate_per_s": 1.0}}
    assert as_table(two.scenario.load)["arrivals"] == {"kind": "gamma", "rate_per_s": 2.0, "cv": 4.0}
    closed = CAMPAIGN + '[experiments.E03]\nname = "three"\nprofile = "llm"\nload = { kind = "closed_loop", users = 2, requests = 4 }\n'
    (tmp_path / "second").mkdir()
    assert load_campaign(campaign_file(tmp_path / "second", closed)).experiments[2].scenario.load == ClosedLoop(users=2, requests=4)


def test_a_folder_holds_one_file_per_experiment_beside_campaign_toml(tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (home / "campaign.toml").write_text(CAMPAIGN)
    (home / "E10.toml").write_text('name = "ten"\nprofile = "llm"\n')
    assert [e.id for e in load_campaign(home).experiments] == ["E01", "E02", "E10"]
    assert load_campaign(home / "campaign.toml") == load_campaign(home)
    with pytest.raises(InputError, match=r"E10\.toml: is one experiment of a campaign; load its folder"):
        load_scenario(home / "E10.toml")


def test_a_variant_is_the_same_traffic_on_other_clusters(tmp_path: Path) -> None:
    campaign = load_campaign(campaign_file(tmp_path, CAMPAIGN))
    naive = campaign.variant("naive")
    assert [e.cluster.name for e in naive.experiments] == ["a-naive.toml"] * 2
    assert [e.scenario for e in naive.experiments] == [e.scenario for e in campaign.experiments]
    assert (campaign.variant_name, naive.variant_name) == (None, "naive")
    with pytest.raises(InputError, match=r"--variant = 'niave' is not a variant of campaign study \(it has: naive\)"):
        campaign.variant("niave")


def test_one_key_is_set_in_every_experiment(tmp_path: Path) -> None:
    campaign = load_campaign(campaign_file(tmp_path, CAMPAIGN))
    assert [e.scenario.timeout_s for e in campaign.with_value("timeout_s", 30).experiments] == [30, 30]
    assert [e.scenario.load.requests for e in campaign.with_value("load.requests", 4).experiments] == [4, 4]  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"experiment E01 with timeout_s = -1: timeout_s = -1 must be > 0"):
        campaign.with_value("timeout_s", -1)
    with pytest.raises(InputError, match=r"experiment E01 with name\.x = 1: name is not a table"):
        campaign.with_value("name.x", 1)


def test_a_path_is_a_campaign_if_it_is_a_folder_or_says_so(tmp_path: Path) -> None:
    assert is_campaign(campaign_file(tmp_path, CAMPAIGN))
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "campaign.toml").write_text(CAMPAIGN)
    assert is_campaign(tmp_path / "whole")
    scenario = tmp_path / "small.toml"
    scenario.write_text('schema = "loadlab/scenario/1"')
    assert not is_campaign(scenario)
    with pytest.raises(InputError, match="does not exist"):
        is_campaign(tmp_path / "nowhere.toml")


def test_a_folder_without_campaign_toml_is_told_so_before_anything_else(tmp_path: Path) -> None:
    for ask in (is_campaign, load_campaign):
        with pytest.raises(InputError, match=r"holds no campaign\.toml, so it is no campaign; name a scenario file"):
            ask(tmp_path)


BROKEN_CAMPAIGNS: list[tuple[str, str, str, str]] = [
    ("a scenario", CAMPAIGN, 'schema = "loadlab/scenario/1"\n', "schema = 'loadlab/scenario/1': this file is a scenario"),
    ("no experiments", CAMPAIGN[CAMPAIGN.index("[experiments.E02]") :], "", "has no experiments; add a file such as E01.toml"),
    ("unknown key", 'name = "study"', 'name = "study"\nauthor = "me"', "study.toml: author is not a known key"),
    ("a bad name", 'name = "study"', 'name = "a b"', "name = 'a b' must be 1 to 80 letters"),
    ("a bad id", "experiments.E01", 'experiments."E 01"', "experiment id = 'E 01' must be"),
    ("not a table", "[profiles.llm]", "[profiles]\nx = 3\n[profiles.llm]", "profiles.x = 3 must be a table"),
    (
        "unknown profile",
        'name = "two"\nprofile = "llm"',
        'name = "two"\nprofile = "vlm"',
        "experiments.E02.profile = 'vlm' must be one of the campaign's profiles: llm",
    ),
    (
        "profile of no text",
        'name = "two"\nprofile = "llm"',
        'name = "two"\nprofile = ["llm"]',
        "experiments.E02.profile = ['llm'] must be one of",
    ),
    ("error in the experiment", "cv = 4", "cv = -4", "experiments.E02.load.arrivals.cv = -4 must be > 0"),
    (
        "error in the profile",
        "value = 9",
        "value = -9",
        "profiles.llm.classes.chat.prompt_tokens.value = -9 must be a count from 0 to 10^9 (in experiment E02)",
    ),
    ("error in the defaults", "timeout_s = 60", "timeout_s = -1", "defaults.timeout_s = -1 must be > 0"),
    ("a key of later", "timeout_s = 60", "timeout_s = 60\nwarmup_s = 1", "defaults.warmup_s is not a known key"),
    (
        "a cluster",
        CAMPAIGN,
        'schema = "loadlab/cluster/1"\n',
        "schema = 'loadlab/cluster/1': this file is a cluster, and a campaign is needed here",
    ),
    (
        "a whole experiment",
        'name = "one"',
        'name = "one"\nschema = "loadlab/scenario/1"',
        "experiments.E01.schema = 'loadlab/scenario/1': this is a scenario by itself, not an experiment of the campaign. Leave schema out",
    ),
    ("a profile with a colour", "[profiles.llm]", '[profiles."\\u001b[31mRED"]', "profiles = '\\x1b[31mRED' must be 1 to 80 letters"),
    ("a variant with a colour", "variants.naive", 'variants."\\u001b[31m"', "is a name with control characters"),
    ("a variant with a space", "variants.naive", 'variants."a b"', "variants = 'a b' must be 1 to 80 letters"),
    (
        "a colour in shows",
        '"the floor"',
        '"\\u001b[31mfloor"',
        "experiments.E01.shows = '\\x1b[31mfloor' must be text without control characters",
    ),
    (
        "too many values",
        "[variants.naive]",
        f'[sensitivity]\nkey = "timeout_s"\nvalues = {[1] * 101}\n[variants.naive]',
        "sensitivity.values = 101 entries must be at most 100",
    ),
    ("no cluster", 'cluster = "../clusters/a.toml"', "", "experiments.E01.cluster is missing: name the cluster file"),
    ("a cluster of no text", '"../clusters/a.toml"', "3", "profiles.llm.cluster = 3 must be text in quotes"),
    (
        "an absolute cluster",
        '"../clusters/a.toml"',
        '"/etc/passwd"',
        "profiles.llm.cluster = '/etc/passwd' must be a relative path that stays",
    ),
    (
        "a cluster too far up",
        '"../clusters/a.toml"',
        '"../../a.toml"',
        "profiles.llm.cluster = '../../a.toml' must be a relative path that stays",
    ),
    ("no name", 'name = "one"', "", "experiments.E01.name is missing"),
    ("a variant that leaves", '"-naive"', '"/../x"', "variants.naive.cluster_suffix = 'x/../x' must be"),
    ("a variant without suffix", 'cluster_suffix = "-naive"', "", "variants.naive.cluster_suffix is missing"),
    (
        "sensitivity to nothing",
        "[variants.naive]",
        '[sensitivity]\nkey = "timeout"\nvalues = [3]\n[variants.naive]',
        "sensitivity.key = 'timeout' does not fit",
    ),
    (
        "no values",
        "[variants.naive]",
        '[sensitivity]\nkey = "timeout_s"\nvalues = []\n[variants.naive]',
        "sensitivity.values = [] must have at least one",
    ),
    ("published without source", "[variants.naive]", "[published]\noom = 0\n[variants.naive]", "published.source is missing"),
    (
        "a success rate in percent",
        "[variants.naive]",
        '[published]\nsource = "x"\nsuccess_rate = 91\n[variants.naive]',
        "published.success_rate = 91 must be between 0 and 1",
    ),
]


@pytest.mark.parametrize(("why", "old", "new", "words"), BROKEN_CAMPAIGNS, ids=[row[0] for row in BROKEN_CAMPAIGNS])
def test_a_broken_campaign_is_told_by_file_and_the_key_as_written(tmp_path: Path, why: str, old: str, new: str, words: str) -> None:
    assert old in CAMPAIGN, why
    path = campaign_file(tmp_path, CAMPAIGN.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_campaign(path)
    assert str(caught.value).startswith(f"{path}: "), why
    assert words in str(caught.value), why


def test_errors_in_an_experiment_file_name_that_file_and_not_the_campaign(tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (home / "campaign.toml").write_text(CAMPAIGN)
    (home / "E03.toml").write_text('name = "three"\nprofile = "llm"\nload.requests = -3\n')
    with pytest.raises(InputError, match=r"E03\.toml: load\.requests = -3 must be from 1"):
        load_campaign(home)
    (home / "E03.toml").rename(home / "E01.toml")
    with pytest.raises(InputError, match=r"campaign\.toml: experiments\.E01 is defined twice: here and in .*E01\.toml"):
        load_campaign(home)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (
            '"loadlab/cluster/1"',
            r"schema = 'loadlab/cluster/1': this is a cluster by itself, not an experiment .* Move it to another folder",
        ),
        ('"loadlab/scenario/2"', r"schema = .*: this is a scenario by itself, .* or leave schema out if it is an experiment"),
        ("[3]", r"schema = \[3\]: this is something else by itself"),
    ],
)
def test_a_whole_file_in_a_campaign_folder_is_told_by_its_sort(tmp_path: Path, schema: str, words: str) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (home / "campaign.toml").write_text(CAMPAIGN)
    (home / "t4.toml").write_text(f"schema = {schema}")
    with pytest.raises(InputError, match=rf"t4\.toml: {words}"):
        load_campaign(home)


def test_a_path_longer_than_the_file_system_allows_cannot_be_read() -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        is_campaign(Path("x" * 5000))


def test_the_name_of_a_strangers_file_does_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (home / "campaign.toml").write_text(CAMPAIGN)
    (home / "\x1b[31m.toml").write_text("x = ")
    with pytest.raises(InputError) as caught:
        load_campaign(home)
    assert str(caught.value).isprintable()
