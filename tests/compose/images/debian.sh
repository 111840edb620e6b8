# Where Debian's packages come from on this machine: apt's own configuration says it, no file here.

SUITE=trixie

debian_mirror() {
	apt-get indextargets --format '$(SITE) $(CODENAME)' |
		awk '$1 ~ /debian\/?$/ && $2 !~ /-/ { print $1; exit }'
}

# newer_apt FOLDER COMMAND…: apt-get of that suite, with all its state in a folder of its own.
newer_apt() {
	local folder=$1
	shift
	mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) $SUITE main" \
		>"$folder/sources.list"
	local own=(-qq -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache"
		-o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
		-o APT::Sandbox::User=root)
	apt-get "${own[@]}" update
	apt-get "${own[@]}" "$@"
}
