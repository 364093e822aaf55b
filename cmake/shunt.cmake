# Helpers for the one-line-per-module lists.

add_library(shunt_flags INTERFACE)
target_include_directories(shunt_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(shunt_flags INTERFACE _GNU_SOURCE SHUNT_VERSION="${PROJECT_VERSION}")
target_compile_options(shunt_flags INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wvla -Wno-unused-parameter -Wno-missing-field-initializers -fno-strict-aliasing -fstack-protector-strong)
if(SHUNT_WERROR)
    target_compile_options(shunt_flags INTERFACE -Werror)
endif()
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT SHUNT_SANITIZE)
    target_compile_options(shunt_flags INTERFACE -D_FORTIFY_SOURCE=2)
endif()
target_link_options(shunt_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,--as-needed)

if(SHUNT_SANITIZE)
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
endif()
if(SHUNT_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()
if(SHUNT_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
    # Where nothing foreign is compared, the comparisons (most of them the sanitizer's own) are not worth telling; branches are counted as
    # anywhere.
    set_property(SOURCE core/layer.c core/loop.c core/stream.c core/hash.c outbound/shake.c outbound/blake3.c
                 PROPERTY COMPILE_OPTIONS -fno-sanitize-coverage=trace-cmp)
endif()

# A folder of C files as a static library. USES: modules whose headers it may include (tests/layers.sh checks the same list).
function(shunt_module name)
    cmake_parse_arguments(A "" "" "USES;LIBS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.c)
    if(NOT sources)
        add_library(${name} INTERFACE)
        return()
    endif()
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC shunt_flags ${A_USES} PRIVATE ${A_LIBS})
endfunction()

function(shunt_program name dir)
    cmake_parse_arguments(A "" "" "USES;LIBS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.c)
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE shunt_flags ${A_USES} ${A_LIBS})
endfunction()
