"""What tests say of data that they make up."""

from __future__ import annotations

from offline.ingestion import movielens
from offline.ingestion.ingest import ingest

# five stars, above three is liked; a year; a profile of three; one term
STARS = ingest(
    movielens.DECLARATION,
    movielens.tables(
        movielens.parse(
            b"1::10::5::978300760\n1::20::3::978300761\n2::10::1::978300762\n2::20::2::3\n2::20::4::4\n",
            b"1::F::1::10::\n2::M::56::16::\n",
            b"10::Star Wars (1977)::Action\n20::Misrables, Les (1995)::Drama\n",
        ),
        (movielens.RATINGS_DAT, movielens.USERS_DAT, movielens.MOVIES_DAT),
    ),
).dataset
