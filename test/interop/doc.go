// Package interop tests the service against other people's HTTP servers in the
// API's place: nginx, HAProxy, Apache, nghttpx, lighttpd, Node, hypercorn and
// Tomcat, each over HTTP/2 and HTTP/1.1. The standard library's reverse proxy goes
// through the same acts: what a server does to everybody is no fault of ours. It needs the build tag interop and the
// servers; what is missing is skipped with a message:
//
//	apt-get install nginx haproxy apache2 nghttp2-proxy lighttpd lighttpd-mod-openssl python3-hypercorn \
//	        libtomcat10-embed-java libjakarta-annotation-api-java default-jdk-headless
package interop
