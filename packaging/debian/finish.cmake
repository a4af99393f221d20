# Run by cpack on the installed files before it packs them: what Debian's policy asks of a package.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()
set(root "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr")
set(documents "${root}/share/doc/kvtune")
set(here "${CPACK_KVTUNE_SOURCE}/packaging/debian")

file(REMOVE "${documents}/LICENSE")  # Debian has it once for all packages
configure_file("${here}/copyright" "${documents}/copyright" COPYONLY)

string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE "${documents}/changelog.Debian" "kvtune (${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium

  * The changes of this version stand in CHANGELOG.md.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
file(RENAME "${documents}/CHANGELOG.md" "${documents}/changelog")
foreach(file "${documents}/changelog.Debian" "${documents}/changelog" "${root}/share/man/man1/kvtune.1")
  execute_process(COMMAND gzip -9n "${file}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(MAKE_DIRECTORY "${root}/share/lintian/overrides")
configure_file("${here}/lintian-overrides" "${root}/share/lintian/overrides/kvtune" COPYONLY)
# Folders and files as Debian wants them, whatever the umask was.
execute_process(COMMAND chmod -R u=rwX,go=rX "${root}" COMMAND_ERROR_IS_FATAL ANY)
file(GLOB libraries "${root}/lib/kvtune/*.so*")
foreach(library ${libraries})
  file(CHMOD "${library}" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()
