-- What the page of report.sh is about; URL is put in by that

CREATE EXTENSION retrostar;
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'URL', model 'retro-star', max_in_flight '32');
CREATE SERVER night FOREIGN DATA WRAPPER retrostar OPTIONS (url 'URL/night', model 'retro-star', max_in_flight '32', cache_scope 'night');
SET retrostar.server = 'gpu';
ALTER DATABASE report SET retrostar.server = 'gpu';

CREATE TABLE doc (id integer PRIMARY KEY, body text NOT NULL);
INSERT INTO doc VALUES
  (1, 'Air scatters blue light more than red light, which makes the sky blue.'),
  (2, 'The sea looks blue because water absorbs red light.'),
  (3, 'At sunset the sky is red: the light has come a long way through the air.'),
  (4, 'Leaves are green because of chlorophyll.'),
  (5, 'Why the sky is dark at night, although there are stars everywhere, is Olbers'' paradox.'),
  (6, 'Blue pigments are rare in animals; most blue feathers scatter light.'),
  (7, 'The sky is blue on Earth and butterscotch on Mars, where dust scatters light.'),
  (8, 'Rayleigh found that scattering grows with the fourth power of frequency.'),
  (9, 'Polarised sunglasses darken a part of the blue sky.'),
  (10, 'A spectrum of sunlight has dark lines, which Fraunhofer mapped.');

-- Rankings, once again from the cache, and a batch
SELECT count(retro_star_score('Why is the sky blue?', body, samples => 8)) FROM doc \g /dev/null
SELECT count(retro_star_score(query, body || ' ' || i, samples => 1 + i % 5)) FROM doc, generate_series(1, 12) i,
  unnest('{Why is the sky blue?,Why do we see colours?,What is light?}'::text[]) query \g /dev/null
SELECT count(retro_star_score('Why is the sky blue?', body)) FROM doc \g /dev/null
SELECT count(retro_star_score('What is light?', body || ' ' || i, samples => 1 + i % 5)) FROM doc, generate_series(1, 12) i \g /dev/null

INSERT INTO retrostar.usage
SELECT date_trunc('hour', now()) - make_interval(hours => h), oid, rolname, server, 'interactive', pairs, pairs / 50, pairs * 2,
  pairs * 1400, pairs * 700, pairs * 600, pairs * 2.6
FROM generate_series(1, 150) h CROSS JOIN (VALUES ('gpu', 0), ('night', 12)) AS s (server, shift) JOIN pg_roles ON rolname = current_user
  CROSS JOIN LATERAL (SELECT (120 * exp(-power((h + shift) % 24 - 12, 2) / 18.0))::bigint + 5 AS pairs) p;
