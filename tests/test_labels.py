"""Names of classes."""

import pytest

from musicvideo.vision.labels import imagenet_labels, resolve, search

LABELS = imagenet_labels()


def test_imagenet_is_in_order():
    assert len(LABELS) == 1000
    assert [LABELS[i] for i in (0, 1, 483, 579, 947, 999)] == [
        "tench", "goldfish", "castle", "grand piano", "mushroom", "toilet tissue",
    ]  # fmt: skip


@pytest.mark.parametrize("typed, found", [
    ("947", 947), ("mushroom", 947), ("Grand Piano", 579), ("piano grand", 579),
    ("retriever, golden", 207), ("fiddler", 120), ("cardigan", 474), ("Cardigan", 264), (" castle ", 483),
    ("crane", 517), ("crane bird", 134), ("microbrew", None),
])  # fmt: skip
def test_classes_are_found_by_number_name_and_word(typed, found):
    if found is None:
        with pytest.raises(ValueError, match=typed):
            resolve([typed], LABELS)
    else:
        assert resolve([typed], LABELS) == [found]


def test_order_is_kept():
    assert resolve(["mushroom", "3", "castle"], LABELS) == [947, 3, 483]


def test_ambiguous_names_list_their_candidates():
    with pytest.raises(ValueError, match="'bear' may be 294 brown bear, 295 American black bear, .*give the number"):
        resolve(["bear"], LABELS)
    with pytest.raises(ValueError, match="may be 0 crane, 2 crane"):
        resolve(["crane"], ["crane", "heron", "crane"])


def test_unknown_names_list_what_is_close():
    with pytest.raises(ValueError, match="no class is called 'mushrom' .*947 mushroom"):
        resolve(["mushrom"], LABELS)
    with pytest.raises(ValueError, match=r"1000 is not in 0\.\.999"):
        resolve(["1000"], LABELS)
    with pytest.raises(ValueError, match="no class is called ''"):
        resolve([""], LABELS)


def test_search():
    assert (579, "grand piano") in search(LABELS, "PIANO")
    assert len(search(LABELS)) == 1000
