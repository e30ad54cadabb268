-- Hashes of VAEs and ControlNets, as programs shorten them.
ALTER TABLE refinement ADD COLUMN vae_hash TEXT;
ALTER TABLE control_use ADD COLUMN hash TEXT;
