package server

import (
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"castar/protos"
	"castar/store/rpc/internal/wire"
)

// schemas are the files of castore's services, each after those that it imports.
func schemas() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		protos.File_protos_castore_proto, protos.File_protos_rpc_blobstore_proto, protos.File_protos_rpc_directory_proto,
	}
}

// descriptors returns the descriptors of everything that a server offers. Those of snix are those of tvix under other
// names.
func descriptors() (*protoregistry.Files, error) {
	files := new(protoregistry.Files)
	for _, f := range []protoreflect.FileDescriptor{
		grpc_health_v1.File_grpc_health_v1_health_proto,
		protos.File_protos_rpc_bulk_proto,
		reflectv1.File_grpc_reflection_v1_reflection_proto, reflectv1alpha.File_grpc_reflection_v1alpha_reflection_proto,
	} {
		if err := files.RegisterFile(f); err != nil {
			return nil, err
		}
	}
	for _, f := range schemas() {
		if err := files.RegisterFile(f); err != nil {
			return nil, err
		}
		renamed := protodesc.ToFileDescriptorProto(f)
		rename(renamed)
		of, err := protodesc.NewFile(renamed, files)
		if err == nil {
			err = files.RegisterFile(of)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", renamed.GetName(), err)
		}
	}
	return files, nil
}

// snixName returns snix's name for a message or oneof of tvix. snix says entry for node.
func snixName(name string) string {
	if before, ok := strings.CutSuffix(name, "Node"); ok {
		return before + "Entry"
	}
	if name == "node" {
		return "entry"
	}
	return name
}

// rename moves a file of tvix to the package of snix, with its path and names there.
func rename(f *descriptorpb.FileDescriptorProto) {
	const path = "snix/castore/"
	f.Name = proto.String(path + f.GetName())
	f.Package = proto.String(wire.SnixPackage)
	f.SourceCodeInfo = nil
	for i, imported := range f.Dependency {
		f.Dependency[i] = path + imported
	}
	renameMessages(f.MessageType)
	for _, s := range f.Service {
		for _, method := range s.Method {
			renameType(&method.InputType)
			renameType(&method.OutputType)
		}
	}
}

// renameMessages renames messages, the messages in them, and the types that they refer to.
func renameMessages(list []*descriptorpb.DescriptorProto) {
	for _, m := range list {
		m.Name = proto.String(snixName(m.GetName()))
		for _, field := range m.Field {
			renameType(&field.TypeName)
		}
		for _, o := range m.OneofDecl {
			o.Name = proto.String(snixName(o.GetName()))
		}
		renameMessages(m.NestedType)
	}
}

// renameType renames a reference to a type of tvix.
func renameType(name **string) {
	if *name == nil {
		return
	}
	if of, ok := strings.CutPrefix(**name, "."+wire.TvixPackage+"."); ok {
		*name = proto.String("." + wire.SnixPackage + "." + snixName(of))
	}
}

// registerReflection lets clients ask what a server offers, in both versions of that service.
func registerReflection(s *grpc.Server) error {
	files, err := descriptors()
	if err != nil {
		return err
	}
	o := reflection.ServerOptions{Services: s, DescriptorResolver: files, ExtensionResolver: new(protoregistry.Types)}
	reflectv1.RegisterServerReflectionServer(s, reflection.NewServerV1(o))
	reflectv1alpha.RegisterServerReflectionServer(s, reflection.NewServer(o))
	return nil
}
