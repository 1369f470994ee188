-- Handles were kept by the bytes alone: the name under which a file was first uploaded is not known
-- any more, so none of them can be trusted. Each file is uploaded once more.
DELETE FROM media_handles;
