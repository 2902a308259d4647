#!/bin/bash
# Run once, when the database cluster is made
set -e
psql -v ON_ERROR_STOP=1 -v dialect="${RETROSTAR_DIALECT:-sglang}" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'END'
CREATE EXTENSION vector;
CREATE EXTENSION retrostar;
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar
  OPTIONS (url 'http://127.0.0.1:30000', model 'ljw13/retro-star-qwen3-14b-0928', dialect :'dialect');
END
