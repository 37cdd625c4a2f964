-- `daymark db upgrade` makes the four roles, without the right to log in. Here each gets it, with a password of its own.
\getenv intake INTAKE
\getenv snapshotter SNAPSHOTTER
\getenv incidents INCIDENTS
\getenv reviewer REVIEWER
ALTER ROLE intake LOGIN PASSWORD :'intake';
ALTER ROLE snapshotter LOGIN PASSWORD :'snapshotter';
ALTER ROLE incidents LOGIN PASSWORD :'incidents';
ALTER ROLE reviewer LOGIN PASSWORD :'reviewer';
