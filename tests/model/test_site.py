from __future__ import annotations

import pytest

from mripipe.errors import RequestError
from mripipe.model.site import Site, find_site, read_site


def test_a_profile_is_read_whole(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(
        'scheduler = "slurm"\npartition = "short"\naccount = "stroke"\noptions = ["--qos=long"]\n'
        'modules = ["apptainer/1.3"]\nsetup = ["export TMPDIR=/scratch"]\ncontainer = "/opt/mripipe.sif"\n'
        "nprocs = 4\narray_limit = 50\nmax_array = 500\n"
    )
    site = read_site(path)
    assert (site.scheduler, site.partition, site.account) == ("slurm", "short", "stroke")
    assert (site.options, site.modules) == (("--qos=long",), ("apptainer/1.3",))
    assert (site.setup, site.container) == (("export TMPDIR=/scratch",), "/opt/mripipe.sif")
    assert (site.nprocs, site.array_limit, site.max_array) == (4, 50, 500)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("partition = [", "not a readable TOML file"),
        ('partitoin = "short"', "unknown key: 'partitoin'; known: scheduler, partition"),
        ('scheduler = "condor"', "scheduler must be one of slurm, pbs, sge, local; got 'condor'"),
        ("partition = 3", "partition must be a single line of text"),
        ('partition = ""', "partition must be a single line of text"),
        # A line of its own in the script would be a command.
        ('account = "a\\nrm -rf"', "account must be a single line of text"),
        ('modules = "one"', "modules must be a list of single lines"),
        ('setup = ["a\\nb"]', "setup must be a list of single lines"),
        ("nprocs = 0", "nprocs must be a whole number of 1 or more"),
        ("array_limit = true", "array_limit must be a whole number of 1 or more"),
        ("max_array = 1.5", "max_array must be a whole number of 1 or more"),
        ('options = ["qos=long"]', "options must start with '-'; got 'qos=long'"),
        ('container = "a.sif"\ncommand = ["b"]', "give container or command, not both"),
    ],
)
def test_an_unfit_profile_is_refused_by_name(tmp_path, text, expected):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(RequestError) as refusal:
        read_site(path)
    assert str(path) in str(refusal.value)
    assert expected in str(refusal.value)


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match=r"none\.toml: not a readable TOML file"):
        read_site(tmp_path / "none.toml")


def test_the_users_own_profile_is_found_where_settings_lie(tmp_path):
    own = tmp_path / ".config" / "mripipe" / "site.toml"
    assert find_site({"HOME": str(tmp_path)}) is None
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert find_site({"HOME": str(tmp_path)}) == own
    assert find_site({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "other")}) is None
    assert find_site({"HOME": "/nowhere", "XDG_CONFIG_HOME": str(own.parent.parent)}) == own
    assert find_site({}) is None
    assert read_site(own) == Site()
