# An image for Astro (or any Docker host). Not built so far: where this project is developed there is neither Docker nor
# this registry, so what follows is written from Astronomer's documentation and from public projects, and untried.
#
# As documented, the base image itself installs packages.txt, then requirements.txt, then copies the project to
# /usr/local/airflow. Two things to look at in the first build: requirements.txt pins Airflow itself, and must name the
# release that the image brings; and a package of the project's own cannot stand in requirements.txt, which is installed
# before the project is copied. It is installed here instead, for the command `db-backup` and for `airflow backup`.
FROM astrocrpublic.azurecr.io/runtime:3.3-8

USER root
RUN pip install --no-cache-dir --no-deps --editable /usr/local/airflow
USER astro
