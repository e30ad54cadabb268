-- The index, version 1. Times are seconds since the epoch; paths are bytes; seeds are decimal text (they reach 2^64 - 1).
-- Vectors: each model revision has two tables of its own, created when it is activated (store/sqlite/vectors/revisions.py).

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE root (
    id       INTEGER PRIMARY KEY,
    path     BLOB NOT NULL UNIQUE,
    purpose  TEXT NOT NULL CHECK (purpose IN ('images', 'jobs')),
    online   INTEGER NOT NULL DEFAULT 1,
    identity TEXT,
    foreign_identity TEXT,                        -- the identity of a foreign folder at this path
    foreign_file_count INTEGER NOT NULL DEFAULT 0,  -- number of indexed files at that time
    mode     TEXT NOT NULL DEFAULT '',
    reason   TEXT NOT NULL DEFAULT '',
    folder_tags INTEGER NOT NULL DEFAULT 0  -- 1: the folders below it become tags
) STRICT;

-- One row per content. Narrow, so that a condition without an index is a quick scan; texts are in image_text.
CREATE TABLE image (
    id                INTEGER PRIMARY KEY,
    content_hash      BLOB NOT NULL UNIQUE,
    byte_count        INTEGER NOT NULL,
    format            TEXT NOT NULL,
    width             INTEGER NOT NULL,
    height            INTEGER NOT NULL,
    frame_count       INTEGER NOT NULL,
    added_at          REAL NOT NULL,
    created_at        REAL NOT NULL,  -- as the metadata states it, else the modification time of the file first seen
    created_from      TEXT,  -- where the metadata states it; NULL: it is the time of the file
    generator         TEXT,
    generator_version TEXT,
    source            TEXT,
    is_ai             TEXT,
    seed              TEXT,
    steps             INTEGER,
    cfg               REAL,
    sampler           TEXT,
    schedule          TEXT,
    denoise           REAL,
    clip_skip         INTEGER,
    model_name        TEXT,
    model_hash        TEXT,
    vae               TEXT,
    gen_width         INTEGER,
    gen_height        INTEGER,
    job               TEXT,
    input_hash        TEXT,
    parser_version    INTEGER NOT NULL,
    parse_problem     TEXT,
    decode_problem    TEXT
) STRICT;

CREATE INDEX image_by_time ON image (created_at);
CREATE INDEX image_by_model ON image (model_name);
CREATE INDEX image_by_sampler ON image (sampler);
CREATE INDEX image_by_schedule ON image (schedule);
CREATE INDEX image_by_generator ON image (generator);
CREATE INDEX image_by_steps ON image (steps);
CREATE INDEX image_by_cfg ON image (cfg);
CREATE INDEX image_by_size ON image (width, height);
CREATE INDEX image_by_vae ON image (vae) WHERE vae IS NOT NULL;
CREATE INDEX image_by_seed ON image (length(seed), seed);
CREATE INDEX image_by_job ON image (job) WHERE job IS NOT NULL;

CREATE TABLE image_text (
    image_id        INTEGER PRIMARY KEY REFERENCES image (id),
    prompt          TEXT,
    negative_prompt TEXT,
    raw_prompt      TEXT,
    extras          TEXT  -- JSON list of [name, value]
) STRICT;

CREATE TABLE raw_chunk (
    image_id INTEGER NOT NULL REFERENCES image (id),
    position INTEGER NOT NULL,
    key      TEXT NOT NULL,
    encoding TEXT NOT NULL,
    text     BLOB NOT NULL,  -- UTF-8 (surrogates passed through), deflated
    PRIMARY KEY (image_id, position)
) STRICT;

CREATE TABLE lora_use (
    image_id    INTEGER NOT NULL REFERENCES image (id),
    position    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    weight      REAL,
    text_weight REAL,
    hash        TEXT,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX lora_use_by_name ON lora_use (name);

-- Values that index stages compute for an image (captions, automatic tags, scores); `source` is the stage.
CREATE TABLE image_attribute (
    image_id INTEGER NOT NULL REFERENCES image (id),
    source   TEXT NOT NULL,
    position INTEGER NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    score    REAL,
    PRIMARY KEY (image_id, source, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_attribute_by_value ON image_attribute (value COLLATE NOCASE, score);

-- Scores of rendered images (`score:` of a job), from their metadata.
CREATE TABLE score (
    image_id INTEGER NOT NULL REFERENCES image (id),
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,  -- clip, aesthetic, sharpness
    value    REAL NOT NULL,
    model    TEXT,  -- the model revision; scores of different revisions are not comparable
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX score_by_value ON score (name, value);

CREATE TABLE control_use (
    image_id INTEGER NOT NULL REFERENCES image (id),
    position INTEGER NOT NULL,
    model    TEXT,
    module   TEXT,
    weight   REAL,
    start_at REAL,  -- shares of the steps, 0 to 1
    end_at   REAL,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX control_use_by_model ON control_use (model);
CREATE INDEX control_use_by_module ON control_use (module);

CREATE TABLE sampler_pass (
    image_id   INTEGER NOT NULL REFERENCES image (id),
    position   INTEGER NOT NULL,
    seed       TEXT,
    steps      INTEGER,
    cfg        REAL,
    sampler    TEXT,
    schedule   TEXT,
    denoise    REAL,
    model      TEXT,
    start_step INTEGER,  -- when it runs only some of the steps
    end_step   INTEGER,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;

-- Rare metadata, apart so that `image` stays narrow; images without any have no row.
CREATE TABLE refinement (
    image_id           INTEGER NOT NULL REFERENCES image (id),
    position           INTEGER NOT NULL,  -- always 0: the table has at most one row per image
    variation_seed     TEXT,
    variation_strength REAL,
    guidance           REAL,
    refiner            TEXT,
    hires_scale        REAL,
    hires_steps        INTEGER,
    hires_upscaler     TEXT,
    hires_denoise      REAL,
    upscaler           TEXT,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX refinement_by_refiner ON refinement (refiner) WHERE refiner IS NOT NULL;
CREATE INDEX refinement_by_upscaler ON refinement (upscaler) WHERE upscaler IS NOT NULL;
CREATE INDEX refinement_by_hires ON refinement (hires_upscaler) WHERE hires_upscaler IS NOT NULL;

-- Textual inversions.
CREATE TABLE textual_inversion_use (
    image_id INTEGER NOT NULL REFERENCES image (id),
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    hash     TEXT,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX textual_inversion_use_by_name ON textual_inversion_use (name);

CREATE TABLE character_prompt (
    image_id      INTEGER NOT NULL REFERENCES image (id),
    position      INTEGER NOT NULL,
    text          TEXT NOT NULL,
    negative_text TEXT,
    x             REAL,  -- shares of the image, 0 to 1
    y             REAL,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE resource_use (
    image_id INTEGER NOT NULL REFERENCES image (id),
    position INTEGER NOT NULL,
    address  TEXT NOT NULL,  -- Civitai's version number, or urn:air:...
    kind     TEXT,
    name     TEXT,
    version  TEXT,
    weight   REAL,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_use_by_address ON resource_use (address);
CREATE INDEX resource_use_by_name ON resource_use (name);

CREATE TABLE detailer_use (
    image_id        INTEGER NOT NULL REFERENCES image (id),
    position        INTEGER NOT NULL,
    model           TEXT,
    prompt          TEXT,
    negative_prompt TEXT,
    denoise         REAL,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX detailer_use_by_model ON detailer_use (model);

-- Present and missing files of a content. A row without image_id is a file that is not a readable image; see `problem`.
CREATE TABLE file (
    id            INTEGER PRIMARY KEY,
    root_id       INTEGER NOT NULL REFERENCES root (id),
    rel           BLOB NOT NULL,
    display       TEXT NOT NULL,
    size          INTEGER NOT NULL,
    mtime_ns      INTEGER NOT NULL,
    inode         INTEGER NOT NULL,  -- unsigned 64-bit, stored as signed
    image_id      INTEGER REFERENCES image (id),
    problem       TEXT,
    missing_since REAL,
    previous_image_id  INTEGER,  -- the previous content at this path; no reference, because it may be forgotten
    UNIQUE (root_id, rel)
) STRICT;
-- Files of a folder, case-insensitive (conditions on paths).
CREATE INDEX file_by_path ON file (root_id, display COLLATE NOCASE, image_id);
CREATE INDEX file_of_image ON file (image_id);
CREATE INDEX file_missing ON file (root_id) WHERE missing_since IS NOT NULL;

-- Annotations belong to the content of an image, so they survive moves.
CREATE TABLE rating (
    image_id INTEGER PRIMARY KEY REFERENCES image (id),
    value    INTEGER NOT NULL CHECK (value BETWEEN 1 AND 5),
    rated_at REAL NOT NULL
) STRICT;
CREATE INDEX rating_by_value ON rating (value);

CREATE TABLE tag (
    image_id INTEGER NOT NULL REFERENCES image (id),
    name     TEXT NOT NULL,
    PRIMARY KEY (image_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_by_name ON tag (name);

CREATE TABLE note (
    image_id INTEGER PRIMARY KEY REFERENCES image (id),
    text     TEXT NOT NULL,
    noted_at REAL NOT NULL DEFAULT 0
) STRICT;

-- Tags derived from the folders of files, for roots with `folder_tags`.
CREATE TABLE folder_tag (
    image_id INTEGER NOT NULL REFERENCES image (id),
    name     TEXT NOT NULL,
    PRIMARY KEY (image_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX folder_tag_by_name ON folder_tag (name);

-- Annotations of contents that are not in the index; they are applied when the image appears.
CREATE TABLE pending_annotation (
    content_hash BLOB PRIMARY KEY,
    rating       INTEGER CHECK (rating BETWEEN 1 AND 5),
    rated_at     REAL NOT NULL DEFAULT 0,
    tags         TEXT NOT NULL DEFAULT '[]',  -- JSON list
    note         TEXT,
    noted_at     REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A content that replaced an annotated one at its path, until both images are compared (the stage `replacement`).
CREATE TABLE replacement (
    new_id INTEGER NOT NULL REFERENCES image (id),
    old_id INTEGER NOT NULL REFERENCES image (id),
    PRIMARY KEY (new_id, old_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX replacement_of ON replacement (old_id);

-- Contentless: the texts themselves are in image_text, character_prompt, tag and file.
CREATE VIRTUAL TABLE prompt_fts USING fts5 (
    prompt, negative, tags, captions, file_name, raw_prompt,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

-- Perceptual hashes (images/perceptual_hash.py): 64 bytes, or NULL for an image with too little structure. `meta` has the
-- version of all hashes.
CREATE TABLE perceptual_hash (
    image_id INTEGER PRIMARY KEY REFERENCES image (id),
    hash     BLOB NOT NULL
) STRICT;

-- Faces and other regions detected in images (indexing/stages/faces.py). Face vectors are stored by region id, which users
-- see and which is never reused. Coordinates are shares, 0 to 1, of the upright image.
CREATE TABLE region (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id   INTEGER NOT NULL REFERENCES image (id),
    kind       TEXT NOT NULL,  -- face, person, hand, ...
    detector   TEXT NOT NULL,  -- a hash of the detector's file
    left       REAL NOT NULL,
    top        REAL NOT NULL,
    width      REAL NOT NULL,
    height     REAL NOT NULL,
    confidence REAL NOT NULL,  -- 0 to 1
    size_px    INTEGER NOT NULL,  -- its shorter side
    sharpness  REAL NOT NULL,  -- the variance of the Laplacian
    quality    REAL NOT NULL  -- 0 to 1, of size, sharpness and confidence
) STRICT;
CREATE INDEX region_of_image ON region (image_id);
CREATE INDEX region_by_kind ON region (kind, image_id);

-- Characters. A row is never deleted, so no id is reused; a merged character names its target in merged_into.
-- `curated`: the user named, merged, split or confirmed it, so no clustering splits it.
CREATE TABLE character (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT,
    name_key    TEXT UNIQUE,  -- the key of equal names (indexd/name_key.py)
    hidden      INTEGER NOT NULL DEFAULT 0,
    threshold   REAL CHECK (threshold BETWEEN 0 AND 1),  -- NULL = that of the settings
    curated        INTEGER NOT NULL DEFAULT 0,
    merged_into INTEGER REFERENCES character (id),
    created_at     REAL NOT NULL
) STRICT;

-- The current character of a face: from clustering and assignment, or confirmed by the user (then also in face_label).
CREATE TABLE membership (
    region_id    INTEGER PRIMARY KEY REFERENCES region (id),
    character_id INTEGER NOT NULL REFERENCES character (id),
    source       TEXT NOT NULL CHECK (source IN ('cluster', 'assigned', 'confirmed'))
) STRICT;
CREATE INDEX membership_of ON membership (character_id);

-- Labels by the user: the face is, or is not, this character. A face has at most one character.
CREATE TABLE face_label (
    region_id    INTEGER NOT NULL REFERENCES region (id),
    character_id INTEGER NOT NULL REFERENCES character (id),
    label         TEXT NOT NULL CHECK (label IN ('is', 'not')),
    labelled_at      REAL NOT NULL,
    PRIMARY KEY (region_id, character_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX face_label_is ON face_label (region_id) WHERE label = 'is';

-- Labels of contents that are not in the index; they are applied when the face is detected there.
CREATE TABLE pending_face_label (
    content_hash BLOB NOT NULL,
    kind         TEXT NOT NULL,
    left         REAL NOT NULL,
    top          REAL NOT NULL,
    width        REAL NOT NULL,
    height       REAL NOT NULL,
    character_id INTEGER NOT NULL REFERENCES character (id),
    label         TEXT NOT NULL CHECK (label IN ('is', 'not', 'member')),
    labelled_at      REAL NOT NULL,
    PRIMARY KEY (content_hash, kind, left, top, width, height, character_id)
) STRICT, WITHOUT ROWID;

-- Pairs of characters that the user declared to be different, the lower id first.
CREATE TABLE character_separation (
    one_id   INTEGER NOT NULL REFERENCES character (id),
    other_id INTEGER NOT NULL REFERENCES character (id),
    PRIMARY KEY (one_id, other_id)
) STRICT, WITHOUT ROWID;

-- Corrections by the user; `before` is a JSON snapshot of the changed rows, for undo.
CREATE TABLE correction (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        REAL NOT NULL,
    kind      TEXT NOT NULL,
    text      TEXT NOT NULL,
    undone_at REAL,
    before    TEXT NOT NULL
) STRICT;

-- Pending index tasks. In this key order the ready tasks of a stage, oldest image first, are read without a sort.
CREATE TABLE index_task (
    stage      TEXT NOT NULL,
    image_id   INTEGER NOT NULL,  -- no reference: each forgotten image would cost a scan of all tasks
    state      TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'failed', 'blocked')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    error      TEXT,
    PRIMARY KEY (stage, image_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX index_task_blocked ON index_task (image_id) WHERE state = 'blocked';

-- A task of an image without a present file waits without a time, until a file of the image is recorded.
CREATE TRIGGER index_task_on_new_file AFTER INSERT ON file WHEN NEW.missing_since IS NULL BEGIN
    UPDATE index_task SET state = 'pending', not_before = 0, error = NULL WHERE state = 'blocked' AND image_id = NEW.image_id;
END;
CREATE TRIGGER index_task_on_file_return AFTER UPDATE ON file WHEN NEW.missing_since IS NULL BEGIN
    UPDATE index_task SET state = 'pending', not_before = 0, error = NULL WHERE state = 'blocked' AND image_id = NEW.image_id;
END;
CREATE TRIGGER index_task_on_root_return AFTER UPDATE OF online ON root WHEN NEW.online AND NOT OLD.online BEGIN
    UPDATE index_task SET state = 'pending', not_before = 0, error = NULL WHERE state = 'blocked' AND image_id IN (
        SELECT image_id FROM file WHERE file.image_id = index_task.image_id AND root_id = NEW.id AND missing_since IS NULL);
END;

-- A model revision of a layer. `generation` names the code table that searches use. During a requantization `next_mean` is
-- set, and the table of generation + 1 is filled up to `requantized_up_to`.
CREATE TABLE revision (
    id            INTEGER PRIMARY KEY,
    layer         TEXT NOT NULL,
    identity      TEXT NOT NULL,
    dim           INTEGER NOT NULL CHECK (dim > 0),
    active        INTEGER NOT NULL DEFAULT 0,
    rotation_seed INTEGER NOT NULL,
    generation    INTEGER NOT NULL DEFAULT 0,
    mean          BLOB,  -- float32
    next_mean     BLOB,
    requantized_up_to INTEGER NOT NULL DEFAULT 0,
    UNIQUE (layer, identity)
) STRICT;
CREATE UNIQUE INDEX revision_active ON revision (layer) WHERE active;

CREATE TABLE job (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- users see job numbers, so they are never reused
    name          TEXT NOT NULL,
    kind          TEXT NOT NULL,
    admission_key TEXT NOT NULL UNIQUE,
    inbox_name    TEXT,
    priority      INTEGER NOT NULL,
    state         TEXT NOT NULL DEFAULT 'queued'
                  CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    error         TEXT,
    file_location      TEXT NOT NULL DEFAULT 'inbox' CHECK (file_location IN ('inbox', 'accepted', 'done', 'failed')),
    created_at    REAL NOT NULL,
    finished_at   REAL,
    unnotified        INTEGER NOT NULL DEFAULT 0,  -- 1: the job has ended, and the command of [notify] has not run for it yet
    source        BLOB NOT NULL  -- last: columns behind a long value are read only through all of its pages
) STRICT;
CREATE INDEX job_by_name ON job (name);
CREATE INDEX job_unnotified ON job (id) WHERE unnotified = 1;
CREATE INDEX job_open ON job (priority DESC, id) WHERE state IN ('queued', 'running');

CREATE TABLE job_item (
    id           INTEGER PRIMARY KEY,
    job_id       INTEGER NOT NULL REFERENCES job (id),
    position     INTEGER NOT NULL,
    seed         TEXT NOT NULL,
    path         BLOB NOT NULL,
    state        TEXT NOT NULL DEFAULT 'queued'
                 CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    not_before   REAL NOT NULL DEFAULT 0,
    error        TEXT,
    content_hash BLOB,  -- before the state is done: of the file that is about to be published
    seconds      REAL,
    scores       TEXT,  -- JSON: score -> value
    rejected_path BLOB,  -- the target of an image that is not kept; it was moved there when `path` is equal
    settings     TEXT NOT NULL,  -- JSON
    report       TEXT NOT NULL DEFAULT '{}',  -- JSON: seconds by stage, notes
    is_last      INTEGER NOT NULL DEFAULT 0,  -- 1: waits until every other item of the job has ended
    UNIQUE (job_id, position)
) STRICT;
CREATE INDEX job_item_by_content ON job_item (content_hash) WHERE content_hash IS NOT NULL;
CREATE INDEX job_item_queued ON job_item (job_id, position) WHERE state = 'queued';

CREATE TABLE event (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      REAL NOT NULL,
    kind    TEXT NOT NULL,
    text    TEXT NOT NULL,
    root_id INTEGER
) STRICT;
CREATE INDEX event_by_kind ON event (kind);
