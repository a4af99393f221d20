# `cpack -G DEB` and `cpack -G TGZ` in a build folder. The Debian package holds libtorch and takes all other libraries
# from the distribution that it was built on, so Debian 12 and Ubuntu 24.04 get packages of their own. The archive
# holds every library but the C and C++ runtimes. scripts/check_install.sh installs both.
set(CPACK_PACKAGE_NAME kvtune)
set(CPACK_PACKAGE_VENDOR kvtune)
set(CPACK_PACKAGE_CONTACT "The kvtune developers <kvtune@users.noreply.github.com>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "find layer-wise KV cache precision plans for language models")
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR DEB TGZ)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# Packages of two distributions have two names, and stand side by side in a release: kvtune_VERSION-1+debian12_amd64.deb.
cmake_host_system_information(RESULT distribution QUERY DISTRIB_INFO)
set(CPACK_DEBIAN_PACKAGE_RELEASE "1+${distribution_ID}${distribution_VERSION_ID}")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${KVTUNE_TORCH_ROOT}/lib" ${KVTUNE_NVIDIA_LIBRARY_DIRS})
# libtorch is 450 MB, for which xz would take minutes; lintian of Debian 12 does not know zstd.
set(CPACK_DEBIAN_COMPRESSION_TYPE gzip)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS python3)  # for render_chat.py alone
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "kvtune finds, for each layer of a language model, how many bits its cached
keys and values need. It scores many plans against the exact model and gives
those that no other plan beats in both quality loss and memory, in the form
that the serving engine reads. libtorch is included.")

set(CPACK_KVTUNE_SOURCE "${PROJECT_SOURCE_DIR}")
set(CPACK_KVTUNE_BUILD "${PROJECT_BINARY_DIR}")
set(CPACK_PROJECT_CONFIG_FILE "${PROJECT_SOURCE_DIR}/packaging/cpack_generator.cmake")
set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/packaging/debian/finish.cmake")
include(CPack)
