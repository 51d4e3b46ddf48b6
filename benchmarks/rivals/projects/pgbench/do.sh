#!/bin/sh
# A table with what no queue can do without: what is to be done, what holds it, one partial index.
set -eu
case $1 in
prepare)
    psql --quiet --set ON_ERROR_STOP=1 <<'SQL'
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL DEFAULT 'noop',
    state smallint NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX waiting ON job (id) WHERE state = 0;
SQL
    ;;
fill)
    psql --quiet --command "INSERT INTO job (name) SELECT 'noop' FROM generate_series(1, $2)"
    ;;
esac
