WITH next AS (
    SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE job SET state = 1, token = token + 1 FROM next WHERE job.id = next.id RETURNING job.id
)
SELECT coalesce(array_agg(id), '{}')::text AS ids FROM claimed \gset
UPDATE job SET state = 2, finished_at = now() WHERE id = ANY (:ids::bigint[]) AND state = 1;
