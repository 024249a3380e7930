"""Operations over every store alike: health, migrations; no engine is named here."""
