-- The metrics under the name of queries that were written against one database for everything: a
-- view, so that points have one home, packed or not. It shows what its reader may see.
CREATE SCHEMA IF NOT EXISTS monitoring;
GRANT USAGE ON SCHEMA monitoring TO neo_app;

CREATE OR REPLACE VIEW monitoring.metrics WITH (security_invoker = true) AS
SELECT m.time, s.name AS service_name, m.metric_name, m.value, m.tags, m.unit, m.service_id
FROM public.metrics_all m JOIN public.services s USING (service_id);

GRANT SELECT ON monitoring.metrics TO neo_app;
