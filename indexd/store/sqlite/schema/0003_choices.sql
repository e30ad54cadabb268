-- What the template of a job chose for an image, from its recipe.
CREATE TABLE choice_use (
    image_id INTEGER NOT NULL REFERENCES image (id),
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX choice_use_by_value ON choice_use (name COLLATE NOCASE, value COLLATE NOCASE);
