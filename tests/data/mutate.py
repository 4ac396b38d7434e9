"""Damage to valid files, as disks, networks and mischief do it."""

from hypothesis import strategies as st


@st.composite
def mutated(draw, seeds):
    """One of `seeds`, with up to three places cut off, flipped, put in, taken out, doubled or set to an extreme."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        place, length = (draw(st.integers(0, max(len(content), 1) - 1)) for _ in range(2))
        how = draw(st.sampled_from(["cut", "flip", "put", "take", "double", "extreme"]))
        if how == "cut":
            del content[place:]
        elif how == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "put":
            content[place:place] = draw(st.binary(max_size=20))
        elif how == "take":
            del content[place : place + length]
        elif how == "double":
            content[place:place] = content[place : place + length]
        else:
            content[place : place + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"]))
    return bytes(content)
