-- The columns hold tokens parted by spaces (indexd/text_tokens.py), for all languages alike. The program fills the table when it
-- next opens the index: `meta` has the version of its tokens (store/sqlite/library/fulltext_refill.py).
DROP TABLE prompt_fts;
CREATE VIRTUAL TABLE prompt_fts USING fts5 (
    prompt, negative, tags, captions, file_name, raw_prompt,
    content = '', contentless_delete = 1, tokenize = 'ascii'
);
