-- Where an overwritten content lay: searches show it for images without a file.
CREATE INDEX file_by_previous ON file (previous_image_id) WHERE previous_image_id IS NOT NULL;
