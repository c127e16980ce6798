# Transfers one file to or from the program's server or a bucket. Every builder image has CMake, which supports HTTP, TLS
# and SHA-256.
#   cmake -DMODE=get|put -DURL=... -DFILE=... [-DSHA256=...] -P transfer.cmake
# The environment variable TOKEN contains the token, and CA the path of the authority's certificate.
if(DEFINED ENV{CA})
    set(CMAKE_TLS_VERIFY ON)
    set(CMAKE_TLS_CAINFO "$ENV{CA}")
endif()
# A signed URL must not be combined with a token: the bucket would reject it. Messages omit the secret signature.
set(authorization)
if(NOT "$ENV{TOKEN}" STREQUAL "")
    set(authorization HTTPHEADER "Authorization: Bearer $ENV{TOKEN}")
endif()
string(REGEX REPLACE "[?].*" "" place "${URL}")
foreach(wait 1 2 4 8 0)
    if(MODE STREQUAL "get")
        file(DOWNLOAD "${URL}" "${FILE}" ${authorization}
            INACTIVITY_TIMEOUT 60 STATUS status LOG log)
    else()
        file(UPLOAD "${FILE}" "${URL}" ${authorization}
            INACTIVITY_TIMEOUT 60 STATUS status LOG log)
    endif()
    list(GET status 0 code)
    list(GET status 1 problem)
    if(code EQUAL 0 AND MODE STREQUAL "get")
        file(SHA256 "${FILE}" found)
        if(NOT found STREQUAL SHA256)
            set(code 1)
            set(problem "its SHA-256 is ${found}, not ${SHA256}")
        endif()
    endif()
    if(code EQUAL 0)
        return()
    endif()
    string(REGEX MATCH "HTTP/[0-9.]+ [45][0-9][0-9][^\r\n]*" answer "${log}")
    message(STATUS "${MODE} ${place}: ${problem} ${answer}")
    # A client error: a retry would get the same response.
    if(answer MATCHES " 4[0-9][0-9]")
        break()
    endif()
    execute_process(COMMAND "${CMAKE_COMMAND}" -E sleep ${wait})
endforeach()
message(FATAL_ERROR "${MODE} ${place}: failed")
