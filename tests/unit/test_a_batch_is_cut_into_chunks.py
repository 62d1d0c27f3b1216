"""Chunks are big enough to be worth sending, and small enough to lose and to share out."""

from hypothesis import given
from hypothesis import strategies as st

from infra.pool.chunks import FIRST_GUESS, MOST_IMAGES, cut

MEGAPIXEL = 1_000_000
SIZES = st.lists(st.integers(min_value=1, max_value=300 * MEGAPIXEL), max_size=200)


@given(SIZES, st.none() | st.floats(1.0, 1e9), st.floats(0.1, 120), st.integers(1, 8))
def test_every_image_travels_once_and_in_order(sizes: list[int], speed: float | None, seconds: float, machines: int):
    images = [(f"{number}.png", size) for number, size in enumerate(sizes)]
    chunks = cut(images, speed, seconds, machines)
    assert [name for chunk in chunks for name in chunk.images] == [name for name, _ in images]
    assert [chunk.pixels for chunk in chunks] == [
        sum(size for name, size in images if name in set(chunk.images)) for chunk in chunks
    ]
    assert all(1 <= len(chunk.images) <= MOST_IMAGES for chunk in chunks)


def test_a_chunk_is_about_as_long_as_wished():
    chunks = cut([(str(number), MEGAPIXEL) for number in range(1000)], 2.0 * MEGAPIXEL, 15.0, machines=2)
    assert {len(chunk.images) for chunk in chunks[:-1]} <= set(range(24, 38))


def test_the_first_batch_is_cut_by_a_guess():
    images = [(str(number), MEGAPIXEL) for number in range(1000)]
    assert cut(images, None, 15.0, machines=2) == cut(images, FIRST_GUESS, 15.0, machines=2)


def test_a_small_batch_is_shared_out_among_all_machines():
    chunks = cut([(str(number), 100) for number in range(20)], 1e9, 15.0, machines=4)
    assert 6 <= len(chunks) <= 8
    assert max(len(chunk.images) for chunk in chunks) <= 3


def test_one_enormous_image_does_not_drag_others_along():
    images = [("small", MEGAPIXEL), ("enormous", 200 * MEGAPIXEL), ("another", MEGAPIXEL)]
    assert ("enormous",) in [chunk.images for chunk in cut(images, 1.0 * MEGAPIXEL, 15.0, machines=1)]


def test_many_tiny_images_do_not_make_one_endless_chunk():
    chunks = cut([(str(number), 1) for number in range(10_000)], 1e9, 60.0, machines=1)
    assert max(len(chunk.images) for chunk in chunks) == MOST_IMAGES


def test_a_batch_is_shared_among_as_many_machines_as_have_a_chunk_each():
    images = [(str(number), MEGAPIXEL) for number in range(300)]

    def chunks(most: int, count: int = 300) -> int:
        return len(cut(images[:count], 1.0 * MEGAPIXEL, 15.0, 2, most))

    assert chunks(most=8) <= 2 * chunks(most=4)
    assert 33 <= chunks(most=160) <= 42  # 300 s of work: 20 machines, two chunks each
    assert chunks(most=160, count=30) == chunks(most=1, count=30)  # 30 s of work: the two that are there anyway


def test_nothing_makes_no_chunk():
    assert cut([], 1e6, 15.0, machines=2) == []
